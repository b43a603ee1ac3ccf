"""What a soak must not make grow: memory, descriptors and threads of all its processes, and blocks of the arena."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.memory import memory_of
from ringline import Session
from ringline.host import procfs
from ringline.shm import ArenaView, ChannelStats

QUANTITIES: Final = {
    "nodes_mb": "PSS of the eight nodes without the arena, MB",
    "application_mb": "PSS of the application without the arena, MB",
    "arena_mb": "arena in use, MB",
    "descriptors": "descriptors of all processes",
    "threads": "threads of all processes",
    "processes": "processes",
}


@dataclass(frozen=True)
class Sample:
    """One look at the session; `at_s` since the soak began."""

    at_s: float
    nodes_mb: float
    application_mb: float
    arena_mb: float
    descriptors: int
    threads: int
    processes: int


async def take(session: Session, at_s: float) -> Sample:
    """Look at every process of the session. One that ends meanwhile counts as far as it was seen.

    In a thread: to read the maps of ten processes takes longer than a message may, and the listeners share this process.
    """
    nodes = [node.pid for node in (await session.get_status()).nodes.values() if node.pid is not None]
    return await asyncio.to_thread(_look, nodes, session.directory, at_s)


def _look(nodes: Sequence[int], directory: Path, at_s: float) -> Sample:
    everyone = procfs.family(os.getpid())
    with contextlib.closing(ArenaView.open(directory)) as view:
        used = sum(node.heap_used_bytes for node in view.node_stats().values())
    return Sample(
        round(at_s, 1),
        round(sum(_pss_mb(pid, directory) for pid in nodes), 2),
        round(_pss_mb(os.getpid(), directory), 2),
        round(used / 1e6, 2),
        sum(_entries(pid, "fd") for pid in everyone),
        sum(_entries(pid, "task") for pid in everyone),
        len(everyone),
    )


async def settled(session: Session, sources: Sequence[str], consumers: Sequence[str]) -> dict[str, ChannelStats]:
    """Slow the sources down, wait until nothing is queued for nodes or in work, and give the counters of that moment.

    Counters are read one after the other: only where nothing moves do those of two channels belong together.
    """
    for source in sources:
        await session.parameters(source, {"slow_s": 1.0, "for_s": 600.0})
    inner = [channel.name for channel in session.plan.layout.channels if channel.consumer in consumers]
    with contextlib.closing(ArenaView.open(session.directory)) as view:
        while True:
            before, nodes = view.channel_stats(), view.node_stats()
            await asyncio.sleep(0.2)
            idle = all(nodes[name].busy_since_ns == 0 and nodes[name].attached for name in consumers)
            if idle and before == view.channel_stats() and not any(before[name].current_occupancy for name in inner):
                return before


def _pss_mb(pid: int, directory: Path) -> float:
    try:
        return memory_of(pid, directory).shared_out
    except OSError:
        return 0.0


def _entries(pid: int, folder: str) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/{folder}"))  # noqa: PTH208  (only how many there are)
    except OSError:
        return 0


@dataclass(frozen=True)
class Course:
    """One quantity over the whole soak: medians of its first and its last part, and its extremes."""

    first: float
    last: float
    least: float
    most: float

    @property
    def growth(self) -> float:
        """Of the first part, as a share: 0.05 = 5 % more at the end."""
        return self.last / self.first - 1 if self.first else 0.0


def courses(samples: Sequence[Sample], warm_up_s: float) -> dict[str, Course]:
    """Give each quantity's course; samples of the warm-up do not count unless there are no others."""
    counted = [sample for sample in samples if sample.at_s >= warm_up_s] or list(samples)
    return {name: course([float(getattr(sample, name)) for sample in counted]) for name in QUANTITIES if counted}


def course(values: Sequence[float]) -> Course:
    """Compare the first fifth of the values with the last."""
    part = max(1, len(values) // 5)
    return Course(_median(values[:part]), _median(values[-part:]), min(values), max(values))


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 2)
