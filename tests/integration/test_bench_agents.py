"""The agents' benchmark with real processes: ours from the command line, others as its crowds. How fast is not asked here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import PEERS
from benchmarks.peers.pools import installed
from ringline.bench.hosts import Host
from ringline.cli import shapes
from tests.helpers.shapes import misfits

ROOT = Path(__file__).resolve().parents[2]
PRESENT = [name for name, (_, package) in PEERS.items() if not package or installed(package)]


def test_a_quick_look_measures_each_executor_and_kills_an_agent(tmp_path: Path) -> None:
    words = ("--quick", "-e", "thread", "-e", "hybrid", "-a", "3", "-l", "scaled", "--seconds", "0.05", "--json")
    command = [sys.executable, "-m", "ringline.cli", "bench", "agents", *words]
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(misfits(found, shapes.AgentsShape)) == []
    assert [(cell["executor"], cell["load"], cell["agents"]) for cell in found["cells"]] == [
        ("thread", "scaled", 3),
        ("hybrid", "scaled", 3),
    ]
    assert {row["executor"]: row["survived"] for row in found["deaths"]} == {"thread": False, "hybrid": True}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [*PRESENT, "process each, fork"])
def test_another_pool_is_a_crowd_like_ours(name: str) -> None:
    spec = PEERS[name][0] if name in PEERS else "benchmarks.peers.pools:ProcessEach:fork"
    with Host(spec) as host:
        assert host.ask("settle", agents=3, kernel="numpy", arguments={})["lives"]
        seen = host.ask("run", agents=3, period_s=0.0, seconds=0.1)
        pss, rss, processes = host.memory()
    assert seen["answers"] >= seen["steps"] == len(seen["delays"])
    assert seen["answers"] > 0  # on a slow machine perhaps none in time
    assert rss >= pss > 0
    assert processes == {"futures thread": 1, "process each, fork": 4}.get(name, processes)


def test_the_benchmark_holds_ours_against_others(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks", "agents", "--quick", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (item,) = json.loads(file.read_text(encoding="utf-8"))["benchmarks"]
    rows: dict[str, dict[str, Any]] = {row["name"]: row for row in item["rows"]}
    compared = rows["process, numpy, scaled, 2 agents: a step of the whole pool"]
    # On a machine that does much else, no step may be done in so short a run: then there is nothing to be held to.
    assert compared["bar"] is None or compared["bar"]["text"].startswith("multiprocessing.Pool")
    assert rows["process, 2 agents: memory"]["min"] > 1
