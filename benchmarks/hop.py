"""What one more node adds to a block's way: blocks of 10 ms through a chain of four nodes, at the pace of sound.

Each node notes when its `process` began; the difference between neighbours is one hop: making the answer, encoding, the
ring, waking the next process, decoding. Synchronous nodes are held to a bare futex wake between CPUs, measured in the same
run, asynchronous ones to a fixed figure: they pay for an event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.futex import wake_latencies
from benchmarks.nodes import BLOCK, RATE
from benchmarks.rows import Bar, Row, percentile
from benchmarks.sessions import chain, node, running
from ringline import RuntimeData

NODES = 4


def measure(*, quick: bool) -> Iterator[Row]:
    blocks = 20 if quick else 500
    wakes = wake_latencies(blocks)
    yield Row("futex wake on another CPU, asleep for 10 ms", "us", wakes)
    for kind in ("SyncHop", "AsyncHop"):
        hops, ways = asyncio.run(_through(kind, blocks))
        name = "sync process" if kind == "SyncHop" else "async process"
        yield Row(f"{name}: from one node to the next", "us", hops, _bar(kind, wakes))
        yield Row(f"{name}: application to application through {NODES} nodes", "us", ways)


def _bar(kind: str, wakes: list[float]) -> Bar | None:
    if kind == "AsyncHop":
        return Bar(100.0, "100 us")
    return Bar(percentile(wakes, 0.5) + 10, "a futex wake across CPUs + 10 us") if wakes else None


async def _through(kind: str, blocks: int) -> tuple[list[float], list[float]]:
    hops: list[float] = []
    ways: list[float] = []
    async with running(chain([node(kind)] * NODES), shm_segment_size=128 << 20) as session:
        begin = time.monotonic() + 0.2
        for number in range(blocks + 10):
            await asyncio.sleep(begin + number * 0.01 - time.monotonic())
            sent = time.monotonic_ns()
            await session.send("n0", RuntimeData.audio(np.zeros(BLOCK, np.float32), RATE, timestamp=number))
            got = await session.receive(f"n{NODES - 1}", timeout=10)
            arrived = time.monotonic_ns()
            times = got.as_numpy()[: 2 * NODES].copy().view(np.int64)
            got.release()
            if number >= 10:
                hops += (np.diff(times) / 1e3).tolist()
                ways.append((arrived - sent) / 1e3)
    return hops, ways
