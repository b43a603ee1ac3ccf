"""What the counters in the arena's header say, as frozen records; and `ArenaView`, which reads them from any process.

They are plain words in shared memory, so they can be read while a node hangs. Each has one writer; a process killed
between a step and its counter leaves that counter one behind, never the message counts, which are the ring's own words.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from ringline.shm import _core

BUCKET_BOUNDS_S: Final = tuple((1 << exponent) / 1e6 for exponent in range(31))
"""Upper bounds in seconds of a latency histogram's buckets (1 µs, 2 µs, 4 µs …); the last bucket has none."""

DROP_REASONS: Final = ("overwritten", "newest", "timeout", "deadline", "flushed", "heap_full", "reader_lost")
"""Why a message was dropped: the oldest gave way, the newest found no room, its block time-out or deadline passed, it
was flushed, its heap was full, its reader died."""


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """One channel. `dropped` counts messages by reason, `copies` payloads copied into a block by `send`."""

    name: str
    producer: str
    consumer: str
    message_count: int
    bytes_transferred: int
    current_occupancy: int
    capacity: int
    dropped: dict[str, int]
    blocked_seconds: float
    wakeups: int
    copies: int
    ended: bool


@dataclass(frozen=True, slots=True)
class LatencyHistogram:
    """Latencies of one node: `counts[i]` of them were below `BUCKET_BOUNDS_S[i]` and not below the bound before."""

    counts: tuple[int, ...]
    sum_seconds: float
    count: int


@dataclass(frozen=True, slots=True)
class NodeStats:
    """One node. `busy_since_ns` is CLOCK_MONOTONIC, 0 when idle; `epoch` the current or next incarnation."""

    name: str
    epoch: int
    attached: bool
    busy_since_ns: int
    heap_bytes: int
    heap_used_bytes: int
    beats: int
    latency: LatencyHistogram


def channel_stats(rows: Iterable[_core.ChannelRow]) -> dict[str, ChannelStats]:
    """Make records of the rows of the C code."""
    return {row[0]: _channel(row) for row in rows}


def node_stats(rows: Iterable[_core.NodeRow]) -> dict[str, NodeStats]:
    """Make records of the rows of the C code."""
    return {row[0]: _node(row) for row in rows}


class ArenaView:
    """A read-only look at a session's arena. Takes no lock and changes nothing."""

    def __init__(self, view: _core.View) -> None:
        self._view = view

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Raise `ArenaError` when there is no valid arena of this user in `directory`."""
        return cls(_core.View(os.fspath(directory)))

    def channel_stats(self) -> dict[str, ChannelStats]:
        """Counters of every channel, by name."""
        return channel_stats(self._view._channels())  # noqa: SLF001 (the pair is one unit)

    def node_stats(self) -> dict[str, NodeStats]:
        """Counters of every node, by name."""
        return node_stats(self._view._nodes())  # noqa: SLF001

    def close(self) -> None:
        """Unmap. May be repeated."""
        self._view.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _channel(row: _core.ChannelRow) -> ChannelStats:
    names, counts, (blocked, ended) = row[:3], row[3:17], row[17:]
    drops = dict(zip(DROP_REASONS, counts[4:11], strict=True))
    message_count, size, queued, capacity = counts[:4]
    wakeups, copies = counts[11:13]
    return ChannelStats(*names, message_count, size, queued, capacity, drops, blocked, wakeups, copies, bool(ended))


def _node(row: _core.NodeRow) -> NodeStats:
    name, epoch, attached, busy_since, heap_bytes, used, beats, buckets, total, count = row
    latency = LatencyHistogram(buckets, total, count)
    return NodeStats(name, epoch, bool(attached), busy_since, heap_bytes, used, beats, latency)
