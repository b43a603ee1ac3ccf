"""The soak in ten seconds, its report and its page. Whether memory is flat is asked of the half hour, not of this."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks.soak import page, report
from benchmarks.soak.faults import FAULTS, Fault
from benchmarks.soak.graph import LOSSES, MANIFEST, NODES, ONE_TO_ONE, OUTPUTS, SOURCES
from benchmarks.soak.nodes import WRONG, Oracle, mark
from benchmarks.soak.samples import QUANTITIES, Course, Sample, courses
from ringline import RuntimeData
from ringline.graph.manifest import read_manifest
from ringline.graph.validate import validate

ROOT = Path(__file__).resolve().parents[2]
FLAT = tuple(f"{name} " for name in QUANTITIES)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.soak", *arguments]
    return subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)


def test_ten_seconds_with_faults_keep_every_promise(tmp_path: Path) -> None:
    faults = "kill,flush,hoard,pause"
    limits = ("--minutes", "0.16", "--every", "1.5", "--sample", "0.5", "--recovery-limit", "90")
    files = ("--json", str(tmp_path / "soak.json"), "--page", str(tmp_path / "soak.md"))
    done = run(*limits, *files, "--faults", faults)
    assert (tmp_path / "soak.json").exists(), done.stdout + done.stderr
    found = json.loads((tmp_path / "soak.json").read_text(encoding="utf-8"))
    broken = [v for v in found["verdicts"] if not v["kept"] and not v["promise"].startswith(FLAT)]
    assert broken == []
    assert set(found["recoveries"]) <= set(faults.split(","))
    assert found["faults"]
    assert all(output["received"] for output in found["outputs"].values())
    assert len(found["samples"]) > 2
    assert {row["overflow"] for row in found["channels"]} == set(LOSSES)
    text = (tmp_path / "soak.md").read_text(encoding="utf-8")
    assert "](soak.svg)" in text
    assert all(row["channel"] in text for row in found["channels"])
    ET.fromstring((tmp_path / "soak.svg").read_text(encoding="utf-8"))


def test_a_fault_that_does_not_exist_is_wrong_usage() -> None:
    done = run("--faults", "kill,earthquake")
    assert done.returncode == 2
    assert "there is no fault 'earthquake'; choose from kill, fail" in done.stderr


def test_the_graph_has_the_nodes_and_policies_that_the_soak_tells_of() -> None:
    [document] = read_manifest(MANIFEST)
    assert validate(document) == []
    assert tuple(node.name for node in document.spec.nodes) == NODES
    assert set(SOURCES) | set(ONE_TO_ONE) == set(NODES)
    assert tuple(output.name for output in document.spec.outputs) == OUTPUTS


def sound(timestamp: int, *, says: int | None = None) -> RuntimeData:
    import numpy as np

    samples = np.empty(480, np.int16)
    mark(samples, timestamp if says is None else says)
    return RuntimeData.audio(samples, 48_000, timestamp=timestamp)


def test_the_oracle_accepts_whole_messages_in_order() -> None:
    oracle = Oracle()
    for timestamp in (1 << 20, 2 << 20, 9 << 20):
        oracle.check(sound(timestamp))
    oracle.check(RuntimeData.json({"time": 10 << 20}, timestamp=10 << 20))


@pytest.mark.parametrize("again", [5 << 20, 4 << 20])
def test_the_oracle_refuses_what_was_delivered_twice_or_late(again: int) -> None:
    oracle = Oracle()
    oracle.check(sound(5 << 20))
    with pytest.raises(AssertionError, match=WRONG):
        oracle.check(sound(again))


def test_the_oracle_refuses_another_message_and_a_torn_one() -> None:
    with pytest.raises(AssertionError, match=WRONG):
        Oracle().check(sound(5 << 20, says=6 << 20))
    torn = sound(5 << 20)
    torn.as_numpy()[-1] += 1
    with pytest.raises(AssertionError, match="whole: False"):
        Oracle().check(torn)


def sample(at_s: float, memory: float = 50.0, descriptors: int = 100) -> Sample:
    return Sample(at_s, memory, 20.0, 1.0, descriptors, 40, 10)


def test_a_course_compares_the_first_with_the_last_part_after_the_warm_up() -> None:
    found = courses([sample(at, 10.0 if at < 10 else 50.0 + at / 10) for at in range(110)], warm_up_s=10)
    memory = found["nodes_mb"]
    assert (memory.first, memory.last, memory.least, memory.most) == (51.95, 59.95, 51.0, 60.9)
    assert memory.growth == pytest.approx(8 / 51.95)
    assert set(found) == set(QUANTITIES)


def kept(**changes: Any) -> dict[str, bool]:
    """Whether each promise is kept, by the beginning of its sentence; as it should be but for the changes."""
    row = {"channel": "a_to_b", "consumer": "b", "forbidden": [], "lost_in_reader": 0}
    facts: dict[str, Any] = {
        "rows": [row],
        "listeners": {},
        "faults": [Fault("kill", "b", 1.0, 0.1)],
        "crashes": [],
        "expected": {"b": 0},
        "left": [],
        "courses": {"nodes_mb": Course(50, 51, 49, 52), "descriptors": Course(100, 101, 99, 103)},
    }
    return {" ".join(v.promise.split()[:2]): v.kept for v in report.verdicts(**(facts | changes))}


def test_a_run_without_a_flaw_keeps_every_promise() -> None:
    assert all(kept().values())


BAD_ROW = {"channel": "a_to_b", "consumer": "b", "forbidden": ["overwritten"], "lost_in_reader": 3}


@pytest.mark.parametrize(
    ("promise", "changes"),
    [
        ("after each", {"faults": [Fault("kill", "b", 1.0)]}),
        ("no node", {"expected": {"b": 1}}),
        ("channels drop", {"rows": [BAD_ROW | {"lost_in_reader": 0}]}),
        ("a message", {"rows": [BAD_ROW | {"forbidden": []}]}),
        ("a message", {"rows": [BAD_ROW | {"forbidden": [], "lost_in_reader": -1}]}),
        ("nodes_mb is", {"courses": {"nodes_mb": Course(50, 54, 49, 55)}}),
        ("descriptors are", {"courses": {"descriptors": Course(100, 103, 99, 103)}}),
        ("nothing is", {"left": ["process 1"]}),
    ],
)
def test_each_flaw_breaks_its_promise_and_no_other(promise: str, changes: dict[str, Any]) -> None:
    assert [name for name, fine in kept(**changes).items() if not fine] == [promise]


def test_recovery_is_told_by_kind_of_fault() -> None:
    done = [Fault("kill", "a", 1.0, 0.5), Fault("kill", "b", 2.0, 1.5), Fault("flush", "a", 3.0)]
    assert report.recoveries(done) == {
        "kill": {"count": 2, "p50_s": 1.0, "max_s": 1.5},
        "flush": {"count": 1, "p50_s": None, "max_s": None},
    }


def test_the_page_says_what_was_not_kept_and_names_every_fault() -> None:
    found = {
        "started": "2026-01-31T12:00:00+00:00",
        "seconds": 60.0,
        "every_s": 5.0,
        "machine": {"cpus": [0], "cpu": "a CPU", "kernel": "6", "python": "3", "load_1min": 0.5},
        "verdicts": [report.as_json(report.Verdict("nothing is left behind", kept=False, seen="process 1"))],
        "faults": [report.as_json(Fault("kill", "b", 30.0, 0.1))],
        "recoveries": report.recoveries([replace(Fault("kill", "b", 30.0), recovered_s=0.1)]),
        "channels": [],
        "courses": {},
        "samples": [report.as_json(sample(1.0)), report.as_json(sample(2.0))],
        "windows": [{"at_s": 6.0, "output": "sound", "n": 3, "p50_ms": 1.0, "p99_ms": 2.0}],
    }
    text = page.markdown(found, "soak.svg")
    assert "| nothing is left behind | **no** | process 1 |" in text
    assert FAULTS["kill"] in text
    drawn = page.svg(found)
    assert "<title>kill b</title>" in drawn
    assert drawn.count("<polyline") == len(QUANTITIES) - 1
