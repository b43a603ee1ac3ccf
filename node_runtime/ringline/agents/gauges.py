"""What a pool can be asked for at any time, as plain values: `statistics()` and its metrics are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """One worker since the pool began. `pid` is None where it is not a process of its own, or is just being restarted.

    `outcomes` counts steps by what became of them, `ends` its processes by reason, `latency` steps per bucket
    (`ringline.shm.stats.BUCKET_BOUNDS_S`), `waiting` what is queued for it or on its way.
    """

    name: str
    pid: int | None
    agents: int
    outcomes: Mapping[str, int]
    ends: Mapping[str, int]
    resident_bytes: int
    latency: tuple[int, ...]
    busy_s: float
    waiting: int


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """A pool: its workers (or threads), steps not answered yet, agents that went on or began anew after a restart."""

    size: int
    waiting: int
    restored: int
    anew: int
    workers: tuple[WorkerFacts, ...]
