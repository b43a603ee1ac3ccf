"""The claims of the analysis that asked for agent pools, each beside what a report of ours measured: for docs/generate_agents.py.

The claims are those of FreeAgentics' "Multiprocessing vs Threading Analysis", for 16 cores; they are quoted as numbers, the answers are
computed from a report. What a report did not measure is said to be so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from benchmarks.compare import Cell, find

NOT_MEASURED: Final = "not in this report"
_DOCUMENTED: Final = (1, 10, 30, 50)
"""Numbers of agents for which both the document and the benchmark have a figure."""
_ENOUGH: Final = 0.75
THREADS: Final = 20


def claims(found: Mapping[str, Any]) -> str:
    """Write the table of claims and answers."""
    cells, memory = found["cells"], _Memory(found["memory"])
    cores = len(found["machine"]["cpus"])
    rows = [
        ("threads, efficiency with 1, 10, 30, 50 agents of 25 % each", "100, 71, 38, 28.4 % (measured)", _efficiency(cells, "thread", "quarter")),
        ("processes, the same", "100, 95, 85, 78 % (expected, of 16 cores)", _efficiency(cells, "process", "scaled")),
        ("hybrid, the same", "none", _efficiency(cells, "hybrid", "scaled")),
        ("processor in use, thread, process, hybrid, 50 agents", "25, 95, 85 %", _processor(cells, cores)),
        ("agents that threads, processes, hybrid can hold", "50, 200, 150", _limits(cells)),
        ("throughput of hybrid over threads", "3 to 4 times", _gain(cells, cores)),
        ("memory of a thread", "2 MB", memory.per_thread()),
        ("memory of a process", "50 MB", memory.per_process()),
        ("50 agents: a process each over threads", "25 times", memory.ratio(50)),
        ("memory per agent, threads, processes, hybrid, 50 agents", "36, 86, 60 MB (with the agents' models)", memory.per_agent(50)),
        ("way to an agent and back, threads, processes, hybrid", "1, 100, 10 µs (one operation of a queue)", _ways(cells)),
        ("one operation, threads: shared access, queue", "0.1 µs, 1 µs", _operations(found, "threads: read", "threads: put")),
        ("one operation, processes: queue, shared memory", "100 µs, 10 µs", _operations(found, "processes: multiprocessing.Queue", "processes: read from SharedState", "processes: write to SharedState")),
        ("zero-copy, memory maps for large data, batches", "30 % more", _switches(found)),
        ("an agent's work: computing, waiting", "70 %, 30 %", _waits(cells)),
        ("one agent crashes: threads, processes, hybrid", "none, complete, partial isolation", _isolation(found["deaths"])),
    ]  # fmt: skip
    lines = ["| what | the analysis | this machine |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def _listed(values: Sequence[float | None], form: Callable[[float], str]) -> str:
    if all(value is None for value in values):
        return NOT_MEASURED
    return ", ".join("–" if value is None else form(value) for value in values)


def _efficiency(cells: Sequence[Cell], executor: str, load: str) -> str:
    kernels = [kernel for kernel in ("python", "numpy") if any(cell["kernel"] == kernel for cell in cells)]
    parts = []
    for kernel in kernels:
        seen = [find(cells, executor, kernel, load, count) for count in _DOCUMENTED]
        values = [None if cell is None else cell["efficiency"] for cell in seen]
        parts.append(f"{_listed(values, lambda value: f'{100 * value:.0f}')} % ({kernel}, load {load})")
    return "; ".join(parts) or NOT_MEASURED


def _processor(cells: Sequence[Cell], cores: int) -> str:
    seen = [find(cells, executor, "numpy", "scaled", 50) for executor in ("thread", "process", "hybrid")]
    values = [None if cell is None else cell["cpu_percent"] / cores for cell in seen]
    return f"{_listed(values, lambda value: f'{value:.0f}')} % of {cores} cores (numpy)"


def _limits(cells: Sequence[Cell]) -> str:
    most = max((cell["agents"] for cell in cells), default=0)
    found = []
    for executor in ("thread", "process", "hybrid"):
        held = [
            cell["agents"]
            for cell in cells
            if (cell["executor"], cell["kernel"], cell["load"]) == (executor, "mixed", "scaled")
            and cell["efficiency"] >= _ENOUGH
        ]
        found.append(f"all {most}" if max(held, default=0) == most else str(max(held, default=0)))
    return f"{', '.join(found)}: the most of those measured with {_ENOUGH:.0%} of the ideal (mixed, load scaled)"


def _gain(cells: Sequence[Cell], cores: int) -> str:
    parts = []
    for kernel in ("python", "numpy", "mixed"):
        hybrid, thread = (find(cells, executor, kernel, "scaled", 150) for executor in ("hybrid", "thread"))
        if hybrid is not None and thread is not None and thread["steps_per_s"]:
            parts.append(f"{hybrid['steps_per_s'] / thread['steps_per_s']:.1f} ({kernel})")
    return f"{', '.join(parts)} with 150 agents; {cores} cores allow {cores}" if parts else NOT_MEASURED


def _ways(cells: Sequence[Cell]) -> str:
    seen = [find(cells, executor, "none", "at once", 1) for executor in ("thread", "process", "hybrid")]
    values = [None if cell is None else cell["p50_delay_ms"] for cell in seen]
    return _listed(values, lambda value: f"{1e3 * value:.0f} µs") + ": a whole step, there and back"


def _operations(found: Mapping[str, Any], *names: str) -> str:
    rows = found.get("operations", ())
    seen = [next((row["us"] for row in rows if row["operation"].startswith(name)), None) for name in names]
    return _listed(seen, lambda value: f"{value:.3g} µs")


def _switches(found: Mapping[str, Any]) -> str:
    """Say how many times as long the same takes without each of them."""
    us = {row["operation"]: row["us"] for row in found.get("operations", ())}
    pairs = (("batching off", "batching on"), ("as a list", "as an array"), ("as an array", "read from shared state"))
    parts = []
    for without, having in pairs:
        slow, quick = (next((us[name] for name in us if word in name), None) for word in (without, having))
        if slow and quick:
            parts.append(f"{slow / quick:.1f} times as long {without}, not {having}")
    return "; ".join(parts) or NOT_MEASURED


def _waits(cells: Sequence[Cell]) -> str:
    cell = find(cells, "inline", "mixed", "scaled", 1)
    waits = None if cell is None else cell.get("waits")
    return NOT_MEASURED if waits is None else f"{100 * (1 - waits):.0f} %, {100 * waits:.0f} % (mixed)"


def _isolation(deaths: Sequence[Mapping[str, Any]]) -> str:
    lost: dict[str, int] = {}
    for row in deaths:
        lost[row["executor"]] = max(lost.get(row["executor"], 0), row["lost"] + row["anew"])
    if not lost:
        return NOT_MEASURED
    others = deaths[0]["others"]
    named = ", ".join(f"{lost[name]}" for name in ("thread", "process", "hybrid") if name in lost)
    return f"{named} of {others} others lost or begun anew"


class _Memory:
    """Differences of PSS, in MB."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._held = {(row["executor"], row["agents"]): row for row in rows}

    def per_thread(self) -> str:
        """Give what a thread adds: twenty threads beside none."""
        return self._said(self._differences("thread", "inline"), lambda value: f"{value / THREADS:.2f} MB")

    def per_process(self) -> str:
        """Give what one more process costs: a fresh one, a forked one."""
        parts = []
        for name in ("process each, spawn", "process each, fork"):
            counts = [agents for (executor, agents) in self._held if executor == name]
            if len(counts) > 1:
                few, many = self._held[name, min(counts)], self._held[name, max(counts)]
                each = (many["pss_mb"] - few["pss_mb"]) / (max(counts) - min(counts))
                parts.append(f"{each:.1f} MB ({name.rpartition(' ')[2]})")
        return ", ".join(parts) or NOT_MEASURED

    def ratio(self, agents: int) -> str:
        """Give how much more a process for each agent takes than threads."""
        base = self._held.get(("thread", agents))
        found = [(name, self._held.get((f"process each, {name}", agents))) for name in ("spawn", "fork")]
        parts = [f"{row['pss_mb'] / base['pss_mb']:.0f} times ({name})" for name, row in found if row and base]
        return ", ".join(parts) or NOT_MEASURED

    def per_agent(self, agents: int) -> str:
        """Give a pool's whole memory for each of its agents."""
        rows = [self._held.get((name, agents)) for name in ("thread", "process each, fork", "hybrid")]
        return _listed(
            [None if row is None else row["pss_mb"] / agents for row in rows], lambda value: f"{value:.1f} MB"
        )

    def _differences(self, more: str, less: str) -> list[float]:
        pairs = (
            (self._held[more, agents], self._held.get((less, agents))) for name, agents in self._held if name == more
        )
        return [row["pss_mb"] - base["pss_mb"] for row, base in pairs if base]

    def _said(self, values: Sequence[float], form: Callable[[float], str]) -> str:
        return form(sum(values) / len(values)) if values else NOT_MEASURED
