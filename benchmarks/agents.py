"""Agents in Ringline's executors and in other pools, in interleaved rounds of one run.

`python -m benchmarks agents` holds them against each other; `python -m benchmarks.agents --json FILE` writes all figures, of which
docs/generate_agents.py makes a page. What is measured, and how, is `ringline.bench`, the same as `ringline bench agents`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from benchmarks.compare import PEERS, SAME, SCHEMA, Pair, merged, pairs, slower, working
from benchmarks.operations import operations
from benchmarks.peers.pools import installed
from benchmarks.rows import Bar, Row, not_installed
from ringline.bench.study import AGENTS, DEATHS, KERNELS, Plan, held, ours, run

EACH: Final = {
    "process each, fork": "benchmarks.peers.pools:ProcessEach:fork",
    "process each, spawn": "benchmarks.peers.pools:ProcessEach:spawn",
}
"""A process for each agent: for its memory, which is what pools are there to save."""
MOST_SPAWNED: Final = 50
"""Fresh interpreters take a quarter of a second of a core each."""
HYBRID_SHARE: Final = 0.75
MEMORY_SHARE: Final = 0.2
AGAIN: Final = 12
"""Rounds in which a cell that seems slower than a peer's is measured again."""
HELD: Final = (6, 2.0)
"""Rounds, and seconds of each, for the shares that are held to a bar: steps come as fast as the cores could do them, and it takes a second until as many wait as a pool works best with."""


def crowds() -> dict[str, str]:
    """Name all that can be measured here."""
    present = {name: spec for name, (spec, package) in PEERS.items() if not package or installed(package)}
    return {**ours(), **present}


def absent() -> list[Row]:
    """Say which peers are missing."""
    return [
        not_installed(name, "us", package) for name, (_, package) in PEERS.items() if package and not installed(package)
    ]


def report(plan: Plan, each: Sequence[int]) -> dict[str, Any]:
    """Run the plan; `each`: numbers of agents for which a process per agent is measured too."""
    began, facts = time.monotonic(), machine.facts()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:4.0f} s  agents: {what} …", file=sys.stderr, flush=True)

    figures = run(plan, say)
    if each:
        say("memory of a process for each agent")
    for name, spec in EACH.items():
        counts = [count for count in each if count <= MOST_SPAWNED or "spawn" not in name]
        figures["memory"] += [held(name, spec, count) for count in counts]
    return {
        "schema": SCHEMA,
        "machine": facts,
        "rounds": plan.rounds,
        "seconds_per_round": plan.seconds,
        "seconds": round(time.monotonic() - began, 1),
        "operations": operations() if each else [],
        **figures,
    }


def again(found: Mapping[str, Any], seconds: float) -> Iterator[Plan]:
    """Plan to measure again what a bar is for: hybrid pools alone, and cells in which ours seems slower than a peer's beside its rivals alone."""
    rounds, longer = HELD
    for cell in filter(is_held, found["cells"]):
        place = (cell["agents"],), (cell["kernel"],), (cell["load"],)
        yield Plan(ours([cell["executor"]]), *place, (), (), seconds=longer, rounds=rounds)
    for pair, _ in slower(found):
        few = {name: spec for name, spec in crowds().items() if name in (pair.executor, *SAME[pair.executor])}
        yield Plan(few, (pair.agents,), (pair.kernel,), (pair.load,), (), (), seconds=seconds, rounds=AGAIN)


def is_held(cell: Mapping[str, Any]) -> bool:
    """Say whether a cell has to reach its share of the cores' ideal."""
    return (cell["executor"], cell["load"], cell["agents"]) == ("hybrid", "scaled", 150)


def measure(*, quick: bool) -> Iterator[Row]:
    if quick:
        few = {name: spec for name, spec in crowds().items() if name in ("process", "multiprocessing.Pool")}
        found = report(Plan(few, (2,), ("numpy",), ("scaled",), (), (2,), seconds=0.1, rounds=1), ())
    else:
        found = report(Plan(crowds(), seconds=0.25), AGENTS)
    yield from rows(found)
    yield from absent()


def rows(found: Mapping[str, Any]) -> Iterator[Row]:
    """Hold the figures against the peers, against what the cores can do, and against a process for each agent."""
    for pair in pairs(found["cells"]):
        yield Row(pair.name, "us", [1e6 / rate for rate in pair.ours if rate], _bar_of(pair))
    for cell in found["cells"]:
        if is_held(cell) and cell["steps_per_s"]:
            limit = 1e6 / (HYBRID_SHARE * cell["ideal_per_s"])
            name = f"hybrid, {cell['kernel']}, scaled, 150 agents: a step of the whole pool"
            yield Row(name, "us", [1e6 / cell["steps_per_s"]], Bar(limit, f"{HYBRID_SHARE:.0%} of the cores' ideal"))
    held_by = {(row["executor"], row["agents"]): row["pss_mb"] for row in found["memory"]}
    for (name, agents), pss in held_by.items():
        each = held_by.get((next(iter(EACH)), agents))
        bar = (
            Bar(MEMORY_SHARE * each, "1/5 of a forked process each")
            if each and (name, agents) == ("hybrid", 150)
            else None
        )
        yield Row(f"{name}, {agents} agents: memory", "MB", [pss], bar)
    for row in found["deaths"]:
        yield Row(f"{row['executor']}, one agent dies ({row['death']}): others lost", "agents", [row["lost"]])


def _bar_of(pair: Pair) -> Bar | None:
    if not working([pair]) or not pair.slowest_peer:
        return None
    return Bar(1e6 / pair.slowest_peer, f"{pair.peer}, its slowest round", "p50")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.agents", description="All figures of agents in pools, as JSON."
    )
    parser.add_argument("--json", metavar="FILE", type=Path, required=True)
    parser.add_argument("--kernel", action="append", choices=KERNELS, help="may be repeated; without it, all")
    parser.add_argument(
        "--agents", action="append", type=int, metavar="N", help="may be repeated; without it, 1 to 200"
    )
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S", help="per cell and round")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument(
        "--part", choices=("cells", "memory"), help="throughput and delay, or memory and deaths; without it, both"
    )
    chosen = parser.parse_args(arguments)
    counts = tuple(chosen.agents or AGENTS)
    memory = () if chosen.part == "cells" else counts
    bare = Plan(crowds(), counts, (), deaths=(), memory=(), seconds=chosen.seconds, rounds=chosen.rounds)
    plans = [replace(bare, kernels=(kernel,)) for kernel in chosen.kernel or KERNELS if chosen.part != "memory"]
    plans += [replace(bare, deaths=DEATHS), replace(bare, memory=memory)] if memory else []
    reports: list[dict[str, Any]] = []
    for plan in plans:
        reports.append(report(plan, plan.memory))
        keep(chosen.json, reports)
    for plan in list(again(merged(reports), chosen.seconds)):
        found = report(plan, ())
        reports.append({**found, "cells": [], "again": found["cells"]})
        keep(chosen.json, reports)
    return 0


def keep(file: Path, reports: Sequence[Mapping[str, Any]]) -> None:
    """Write what was measured so far: it stays if the rest is broken off."""
    file.write_text(lined(merged(reports)), encoding="utf-8")


def lined(found: Mapping[str, Any]) -> str:
    """Write a report with a line for each row: small, and to be compared by git."""
    parts = []
    for name, value in found.items():
        if isinstance(value, list):
            inner = ",\n".join("  " + json.dumps(row) for row in value)
            parts.append(f' "{name}": [\n{inner}\n ]' if value else f' "{name}": []')
        else:
            parts.append(f' "{name}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    sys.exit(main())
