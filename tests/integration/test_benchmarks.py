"""The benchmarks run, clean up after themselves, and their report has the documented shape. How fast is not asked here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rows import Bar, Row, not_installed, percentile

ROOT = Path(__file__).resolve().parents[2]
ROW_KEYS = {"name", "unit", "n", "bar", "met", "note", "skipped", "labels"}
FIGURES = {"p50", "p90", "p99", "max", "min"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)


def test_the_report_has_the_documented_shape(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    done = run("death", "interruption", "--quick", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(file.read_text(encoding="utf-8"))
    assert (report["schema"], report["quick"]) == ("ringline-benchmarks/1", True)
    assert {"cpus", "kernel", "python", "load_1min", "packages"} <= set(report["machine"])
    assert [item["name"] for item in report["benchmarks"]] == ["death", "interruption"]
    for item in report["benchmarks"]:
        assert item["error"] is None
        assert item["rows"]
        for row in item["rows"]:
            check(row)


def check(row: dict[str, Any]) -> None:
    assert set(row) == ROW_KEYS | FIGURES
    assert 0 <= row["min"] <= row["p50"] <= row["p90"] <= row["p99"] <= row["max"]
    if row["bar"] is not None:
        value, limit = row[row["bar"]["statistic"]], row["bar"]["limit"]
        assert row["met"] == (value >= limit if row["bar"]["least"] else value <= limit)


def test_the_data_plane_is_measured_beside_its_peers_and_written_as_a_page(tmp_path: Path) -> None:
    file, shown = tmp_path / "report.json", tmp_path / "page.md"
    names = ("limits", "stream", "backpressure", "recovery", "cost")
    done = run(*names, "--quick", "--json", str(file), "--write", str(shown))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(file.read_text(encoding="utf-8"))
    rows = [row for item in report["benchmarks"] for row in item["rows"]]
    assert [item["name"] for item in report["benchmarks"] if item["error"]] == []
    for row in rows:
        if row["n"]:
            check(row)
    text = shown.read_text(encoding="utf-8")
    for title in ("## What was to be reached", "## What the machine allows", "## Stream", "## A full channel"):
        assert title in text
    assert (tmp_path / "images" / "performance-stream.svg").is_file()


def test_the_report_can_go_to_standard_output() -> None:
    done = run("memory", "--quick", "--json", "-")
    assert done.returncode == 0, done.stderr
    (item,) = json.loads(done.stdout)["benchmarks"]
    assert all(row["unit"] == "MB" and row["min"] > 0 for row in item["rows"])


def test_an_unknown_benchmark_is_wrong_usage() -> None:
    done = run("speed")
    assert done.returncode == 2
    assert "there is no benchmark 'speed'; choose from limits, transfer, stream" in done.stderr


def test_a_peer_that_is_missing_has_a_row_that_says_how_to_install_it() -> None:
    row = not_installed("iceoryx2, 10 MiB", "us", "iceoryx2").as_json()
    assert row["skipped"] == "not installed; pip install iceoryx2"
    assert (row["n"], row["met"]) == (0, None)
    assert set(row) == ROW_KEYS


BAD_PEERS = """
import json
from benchmarks import transfer
from benchmarks.peers.iceoryx import IceoryxTransport
from benchmarks.peers.queues import QueueTransport

class Broken(QueueTransport):
    name = "broken"

    def open(self, side):
        raise OSError(f"no {side} here")

if __name__ == "__main__":
    IceoryxTransport.installed = staticmethod(lambda: False)
    transfer.transports = lambda: [IceoryxTransport, Broken]
    print(json.dumps([row.as_json() for row in transfer.measure(quick=True)]))
"""


def test_transfer_runs_without_the_peers_that_are_missing_or_broken(tmp_path: Path) -> None:
    # In a process of its own: multiprocessing keeps a helper process for as long as its user lives.
    script = tmp_path / "bad_peers.py"
    script.write_text(BAD_PEERS, encoding="utf-8")
    path = os.pathsep.join([str(ROOT), str(ROOT / "node_runtime")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    sizes = ("64 B", "10 MiB")
    assert [row["name"] for row in rows if row["n"]] == [f"two memcpys, {size}, round trip" for size in sizes]
    assert [row["skipped"] for row in rows if not row["n"]] == [
        "not installed; pip install iceoryx2",
        "does not work here: OSError: no client here",
    ]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 5), (0.9, 9), (0.99, 10), (1.0, 10)])
def test_percentiles_are_values_that_were_measured(share: float, expected: float) -> None:
    assert percentile([10, 1, 9, 2, 8, 3, 7, 4, 6, 5], share) == expected
    assert percentile([4], share) == 4


def test_a_row_knows_whether_its_bar_was_met() -> None:
    values = [1.0, 2.0, 3.0]
    assert Row("a", "us", values, Bar(2, "two")).met is True
    assert Row("a", "us", values, Bar(2, "two", "max")).met is False
    assert Row("a", "us", values).met is None
    assert Row("a", "us", bar=Bar(2, "two"), skipped="no").met is None
