"""What one more node adds to a block's way: blocks of 10 ms through a chain of four nodes, at the pace of sound.

Each node notes when its `process` began and ended. A hop is the time from the end of one `process` to the beginning of the
next: encoding, the ring, waking the next process, decoding. Synchronous nodes are held to a bare futex wake between CPUs,
measured in the same run, asynchronous ones to a fixed figure: they pay for an event loop. What the nodes themselves do
(copy the block, make the answer) is a row of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from benchmarks.futex import wake_latencies
from benchmarks.nodes import BLOCK, RATE, STAMPS
from benchmarks.rows import Bar, Row, percentile
from benchmarks.sessions import chain, node, running
from ringline import RuntimeData

NODES = 4
WARM_UP = 10


def measure(*, quick: bool) -> Iterator[Row]:
    blocks = 20 if quick else 500
    wakes = wake_latencies(blocks)
    yield Row("futex wake on another CPU, asleep for 10 ms", "us", wakes)
    for kind, name in (("SyncHop", "sync process"), ("AsyncHop", "async process")):
        times = asyncio.run(_through(kind, blocks))
        yield Row(f"{name}: hop from one node to the next", "us", times.hops, _bar(kind, wakes))
        yield Row(f"{name}: the node's own work", "us", times.work)
        yield Row(f"{name}: application to application through {NODES} nodes", "us", times.ways)


def _bar(kind: str, wakes: list[float]) -> Bar | None:
    if kind == "AsyncHop":
        return Bar(100.0, "100 us")
    return Bar(percentile(wakes, 0.5) + 10, "a futex wake across CPUs + 10 us") if wakes else None


@dataclass
class Times:
    """In microseconds."""

    hops: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)
    ways: list[float] = field(default_factory=list)

    def note(self, sent: int, stamps: np.ndarray[tuple[int], np.dtype[np.int64]], received: int) -> None:
        began, ended = stamps[:NODES], stamps[STAMPS : STAMPS + NODES]
        self.hops += ((began[1:] - ended[:-1]) / 1e3).tolist()
        self.work += ((ended - began) / 1e3).tolist()
        self.ways.append((received - sent) / 1e3)


async def _through(kind: str, blocks: int) -> Times:
    times = Times()
    async with running(chain([node(kind)] * NODES), shm_segment_size=128 << 20) as session:
        begin = time.monotonic() + 0.2
        for number in range(blocks + WARM_UP):
            await asyncio.sleep(begin + number * 0.01 - time.monotonic())
            sent = time.monotonic_ns()
            await session.send("n0", RuntimeData.audio(np.zeros(BLOCK, np.float32), RATE, timestamp=number))
            got = await session.receive(f"n{NODES - 1}", timeout=10)
            received = time.monotonic_ns()
            stamps = got.as_numpy().copy().view(np.int64)
            got.release()
            if number >= WARM_UP:
                times.note(sent, stamps, received)
    return times
