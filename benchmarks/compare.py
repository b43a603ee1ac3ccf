"""Which figures of the agents' benchmark may be compared, and what comes of it: pure functions of a report.

`agents` holds them against bars; docs/generate_agents.py writes them into a page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median
from typing import Any, Final

SCHEMA: Final = "ringline-agents/2"
PEERS: Final[Mapping[str, tuple[str, str]]] = {
    "futures thread": ("benchmarks.peers.pools:FuturesThread", ""),
    "futures process": ("benchmarks.peers.pools:FuturesProcess", ""),
    "multiprocessing.Pool": ("benchmarks.peers.pools:MultiprocessingPool", ""),
    "loky": ("benchmarks.peers.pools:Loky", "loky"),
}
"""Peer → crowd, and the package that has to be installed for it."""
SAME: Final[Mapping[str, tuple[str, ...]]] = {
    "thread": ("futures thread",),
    "process": ("futures process", "multiprocessing.Pool", "loky"),
}
"""Executor → the peers that offer the same: so many threads, or so many processes. Threads in processes nobody else has."""
SAME_WITHIN: Final = 0.97
"""Less than 3 % of difference is none."""
CHANCE: Final = 0.05
"""So often would pools that are equal lose as many rounds."""
Cell = Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """Our executor and the best of the peers that offer the same, in one cell: steps per second in each round."""

    executor: str
    kernel: str
    load: str
    agents: int
    ours: tuple[float, ...]
    peer: str
    theirs: tuple[float, ...]

    @property
    def place(self) -> tuple[str, str, str, int]:
        """Say which cell it is."""
        return self.executor, self.kernel, self.load, self.agents

    @property
    def name(self) -> str:
        """What it is called in a table."""
        return f"{self.executor}, {self.kernel}, {self.load}, {self.agents} agents: a step of the whole pool"

    @property
    def ratio(self) -> float:
        """Our steps for each of theirs, the median over the rounds; more is better."""
        return median(mine / its if its else float("inf") for mine, its in zip(self.ours, self.theirs, strict=True))

    @property
    def slowest_peer(self) -> float:
        """Steps per second in the peer's slowest round."""
        return min(self.theirs)

    @property
    def slower(self) -> bool:
        """Say whether ours is slower beyond noise: by 3 % and more, and in so many rounds that chance hardly explains it (a sign test).

        Of less than eight rounds it has to lose all.
        """
        rounds = len(self.ours)
        lost = sum(mine < its for mine, its in zip(self.ours, self.theirs, strict=True))
        return self.ratio < SAME_WITHIN and chance(lost, rounds) <= max(CHANCE, chance(rounds, rounds))


def chance(lost: int, rounds: int) -> float:
    """Give the probability that one of two equal pools loses so many rounds, or more."""
    return float(sum(comb(rounds, each) for each in range(lost, rounds + 1)) / 2**rounds)


def pairs(cells: Sequence[Cell]) -> Iterator[Pair]:
    """Compare each cell in which we offer the same as somebody else."""
    for cell in cells:
        rivals = [
            other
            for other in cells
            if other["executor"] in SAME.get(cell["executor"], ()) and _place(other) == _place(cell)
        ]
        if rivals:
            best = max(rivals, key=lambda other: float(other["steps_per_s"]))
            ours, theirs = tuple(cell["rounds"]), tuple(best["rounds"])
            yield Pair(cell["executor"], *_place(cell), ours, best["executor"], theirs)


def merged(reports: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the reports of several runs together, each of which measured whole blocks; the machine is the first's."""
    parts = list(reports)
    for part in parts:
        if part["schema"] != SCHEMA:
            raise ValueError(f"a report of the schema {part['schema']!r}, not {SCHEMA!r}; measure again")
    whole = dict(parts[0])
    whole["loads_1min"] = [part["machine"]["load_1min"] for part in parts if "machine" in part]
    whole["seconds"] = round(sum(part.get("seconds", 0.0) for part in parts), 1)
    for name in ("cells", "again", "memory", "deaths", "operations"):
        whole[name] = [row for part in parts for row in part.get(name, ())]
    return whole


def find(cells: Sequence[Cell], executor: str, kernel: str, load: str, agents: int) -> Cell | None:
    """Give one cell, if it was measured."""
    place = (kernel, load, agents)
    return next((cell for cell in cells if cell["executor"] == executor and _place(cell) == place), None)


def _place(cell: Cell) -> tuple[str, str, int]:
    return cell["kernel"], cell["load"], cell["agents"]


def working(compared: Iterable[Pair]) -> list[Pair]:
    """Leave out steps that compute nothing: there the way is measured, and what a pool does for a step on it."""
    return [pair for pair in compared if pair.kernel != "none"]


def slower(found: Mapping[str, Any]) -> list[tuple[Pair, Pair | None]]:
    """Give the cells in which ours is slower beyond noise, each with the one that was measured again; with that they are confirmed or not."""
    again = {pair.place: pair for pair in pairs(found.get("again", ()))}
    return [(pair, again.get(pair.place)) for pair in working(pairs(found["cells"])) if pair.slower]
