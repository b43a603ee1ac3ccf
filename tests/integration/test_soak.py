"""The soak in six seconds, its report and its page. Whether memory is flat is asked of the half hour, not of this."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks.soak import __main__ as program
from benchmarks.soak import listeners, page, report
from benchmarks.soak.faults import FAULTS, Fault
from benchmarks.soak.graph import LOSSES, MANIFEST, NODES, ONE_TO_ONE, OUTPUTS, SOURCES
from benchmarks.soak.listeners import Calm, Timer, Window
from benchmarks.soak.nodes import WRONG, Oracle, mark
from benchmarks.soak.samples import QUANTITIES, Course, Sample, courses
from ringline import RuntimeData
from ringline.graph.manifest import read_manifest
from ringline.graph.validate import validate

ROOT = Path(__file__).resolve().parents[2]
FLAT = (*(f"{name} " for name in QUANTITIES), "p99 of ")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.soak", *arguments]
    return subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)


def test_six_seconds_with_faults_keep_every_promise(tmp_path: Path) -> None:
    faults = "kill,flush,hoard,pause"
    limits = ("--minutes", "0.1", "--every", "1.5", "--sample", "0.5", "--recovery-limit", "90")
    files = ("--json", str(tmp_path / "soak.json"), "--page", str(tmp_path / "soak.md"))
    done = run(*limits, *files, "--faults", faults)
    assert (tmp_path / "soak.json").exists(), done.stdout + done.stderr
    found = json.loads((tmp_path / "soak.json").read_text(encoding="utf-8"))
    broken = [v for v in found["verdicts"] if v["kept"] is not True and not v["promise"].startswith(FLAT)]
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


def kept(**changes: Any) -> dict[str, bool | None]:
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


def calm_window(at_s: float, output: str, p99_ms: float, count: int = 1000) -> dict[str, Any]:
    latencies = {"n": 9, "p50_ms": 1.0, "p99_ms": 900.0, "calm_n": count, "calm_p99_ms": p99_ms}
    return {"at_s": at_s, "output": output, **latencies}


def ten_windows(sound: tuple[float, float], timer: tuple[float, float]) -> list[dict[str, Any]]:
    """Make the first half with one p99 in ms and the second half with another."""
    ways = (("sound", sound), (report.TIMER, timer))
    return [calm_window(60.0 * at, name, values[at > 5]) for at in range(1, 11) for name, values in ways]


@pytest.mark.parametrize(
    ("sound", "timer", "kept"),
    [
        ((5, 5.4), (0.1, 0.1), True),
        ((5, 5.7), (0.1, 0.1), False),
        ((5, 3.0), (0.1, 0.1), True),
        ((5, 9.0), (4.0, 4.0), True),
        ((5, 9.0), (0.5, 1.0), None),
        ((5, 9.0), (0.5, 0.8), False),
    ],
    ids=["flat", "grown", "better", "as-exact-as-the-machine", "the-machine-slowed-down-by-more", "by-less"],
)
def test_a_p99_is_held_against_its_first_part_and_against_the_machine(
    sound: tuple[float, float], timer: tuple[float, float], kept: bool | None
) -> None:
    [verdict] = report.steadiness(ten_windows(sound, timer), warm_up_s=0)
    assert (verdict.promise, verdict.kept) == ("p99 of sound between faults is flat", kept)
    assert f"{sound[0]:.1f} → {sound[1]:.1f} ms" in verdict.seen


def test_an_earlier_run_is_judged_again_without_a_new_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = whole(0.1) | {"windows": ten_windows((5, 9.0), (0.5, 1.0)), "seconds": 600.0}
    found["verdicts"] = [
        report.as_json(report.Verdict("nothing is left behind", kept=True, seen="no process")),
        report.as_json(report.Verdict("p99 of sound between faults is flat", kept=False, seen="as it was judged then")),
    ]
    (tmp_path / "soak.json").write_text(json.dumps(found), encoding="utf-8")
    assert program.main(["--again", str(tmp_path / "soak.json"), "--page", str(tmp_path / "soak.md")]) == 0
    printed = capsys.readouterr().out
    assert "ok   nothing is left behind: no process" in printed
    assert "?    p99 of sound between faults is flat: 5.0 → 9.0 ms (+80%)" in printed
    text = (tmp_path / "soak.md").read_text(encoding="utf-8")
    assert f"| p99 of sound between faults is flat | {page.KEPT[None]} |" in text
    assert "as it was judged then" not in text


def test_latencies_are_compared_between_faults_and_after_the_warm_up() -> None:
    windows = [
        calm_window(at, name, at * times)
        for at in range(60, 720, 60)
        for name, times in (("sound", 1), (report.TIMER, 2))
    ]
    windows += [calm_window(720, "sound", 5000.0, count=7)]  # a fault took nearly all of it
    found = report.latencies(windows, warm_up_s=60)
    assert (found["sound"].first, found["sound"].last) == (150, 630)
    assert (found[report.TIMER].least, found[report.TIMER].most) == (240, 1320)
    assert report.latencies([calm_window(120, "sound", 5.0)], warm_up_s=60) == {}


def test_it_is_calm_from_a_while_after_a_fault_until_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    calm = Calm()
    assert calm
    calm.end()
    assert not calm
    calm.follow()
    assert not calm
    monkeypatch.setattr(listeners, "SETTLE_S", 0.0)
    calm.follow()
    assert calm


def test_a_window_keeps_the_times_of_calm_apart_and_forgets_what_it_told() -> None:
    window = Window()
    for value in range(1, 101):
        window.add(float(value), calm=value <= 10)
    told = window.close()
    assert (told["n"], told["calm_n"]) == (100, 10)
    assert told["p50_ms"] == pytest.approx(50, abs=1)
    assert told["calm_p99_ms"] <= 10 < 98 <= told["p99_ms"]
    assert set(window.close().values()) == {0.0}


async def test_the_timer_tells_how_late_the_machine_wakes_this_process() -> None:
    timer = Timer(Calm())
    task = asyncio.create_task(timer.run())
    while len(timer.window.values) < 3:
        await asyncio.sleep(0.01)
    assert min(timer.window.calm) >= 0
    timer.window.close()
    time.sleep(0.2)  # noqa: ASYNC251  (the loop is to stand still: every time that passes meanwhile is missed)
    while len(timer.window.values) < 9:
        await asyncio.sleep(0.01)
    task.cancel()
    assert sum(late >= 100 for late in timer.window.values) >= 4


def test_the_report_names_the_commit_where_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program.commit() == ""
    (tmp_path / "git").write_text("#!/bin/sh\necho abc1234\n")
    (tmp_path / "git").chmod(0o700)
    assert program.commit() == "abc1234"


@pytest.mark.parametrize(("before", "shared"), [(0.1, False), (7.0, True)])
def test_the_page_tells_the_commit_and_whether_the_machine_was_shared(before: float, shared: bool) -> None:
    text = page.markdown(whole(before), "soak.svg")
    assert "Run of 2026-01-31T12:00:00+00:00 (commit abc1234), 1 CPUs (a CPU)" in text
    assert (page.SHARED in text) is shared
    assert "| sound | 1.00 ms, 1.00 ms | 2.0 ms | 2 ms | 1.5 ms |" in text
    assert "| (a timer's delay) | 0.10 ms, 0.10 ms | 0.2 ms | 0 ms | 0.0 ms |" in text


def test_the_page_says_what_was_not_kept_and_names_every_fault() -> None:
    found = whole(0.1)
    text = page.markdown(found, "soak.svg")
    assert "| nothing is left behind | **no** | process 1 |" in text
    assert FAULTS["kill"] in text
    drawn = page.svg(found)
    assert "<title>kill b</title>" in drawn
    assert drawn.count("<polyline") == len(QUANTITIES) - 1


def whole(load_before: float) -> dict[str, Any]:
    """Make the report of a soak of a minute."""
    window = {"at_s": 6.0, "output": "sound", "n": 3, "p50_ms": 1.0, "p99_ms": 2.0, "calm_n": 2, "calm_p99_ms": 1.5}
    late = {"output": report.TIMER, "p50_ms": 0.1, "p99_ms": 0.2, "calm_n": 0, "calm_p99_ms": 0.0}
    return {
        "started": "2026-01-31T12:00:00+00:00",
        "commit": "abc1234",
        "seconds": 60.0,
        "every_s": 5.0,
        "machine": {
            "cpus": [0],
            "cpu": "a CPU",
            "kernel": "6",
            "python": "3",
            "load_1min": 0.5,
            "load_before": load_before,
        },
        "verdicts": [report.as_json(report.Verdict("nothing is left behind", kept=False, seen="process 1"))],
        "faults": [report.as_json(Fault("kill", "b", 30.0, 0.1))],
        "recoveries": report.recoveries([replace(Fault("kill", "b", 30.0), recovered_s=0.1)]),
        "channels": [],
        "courses": {},
        "samples": [report.as_json(sample(1.0)), report.as_json(sample(2.0))],
        "windows": [window, window | late],
    }
