"""What a whole node costs for each message, beside the calls of `ringline.shm` that it makes: CPU time, under full load.

The node passes a message of 960 bytes on. Its runner takes it, decodes it, calls `process`, notes the time that took, encodes
what comes back and forwards the block. The bare calls are those that move the block: next, forward, release.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.rows import Bar, Row, percentile
from benchmarks.sessions import node, running
from benchmarks.waiting import cpu_seconds
from ringline import Pipeline, RuntimeData
from ringline.graph.layout import ChannelPlan, arena_layout
from ringline.names import HOST
from ringline.shm import Arena

_BURST: Final = 20_000
_BATCH: Final = 16
_BARS: Final = {"sync process": ("SyncPass", 5.0), "async process": ("AsyncPass", 30.0)}


def measure(*, quick: bool) -> Iterator[Row]:
    count, rounds = (200, 1) if quick else (_BURST, 5)
    bare = _bare_calls(5 if quick else 300)
    yield Row("next, forward, release without a node", "us", bare, labels={"limit": "next, forward and release alone"})
    for what, (kind, limit) in _BARS.items():
        costs = asyncio.run(_node(kind, count, rounds))
        over = [cost - percentile(bare, 0.5) for cost in costs]
        about = {"verdict": f"a node's own cost for each message, {what}"}
        yield Row(
            f"{what}: a node's CPU beyond that, for each message", "us", over, Bar(limit, f"{limit:g} us"), labels=about
        )


async def _node(kind: str, count: int, rounds: int) -> list[float]:
    """Return the CPU time of the middle one of three nodes for each message, in microseconds, in each round."""
    pipeline = Pipeline(name="bench")
    for name, cls in (("n0", "SyncBurst"), ("n1", kind), ("n2", "SyncCount")):
        pipeline.add_node(node(cls), name, {"each": count})
    pipeline.connect("n0", "output", "n1", "input").connect("n1", "output", "n2", "input")
    costs = []
    async with running(pipeline, shm_segment_size=128 << 20) as session:
        pid = (await session.get_status()).nodes["n1"].pid or 0
        for _ in range(rounds + 1):
            cpu = cpu_seconds(pid)
            await session.send("n0", RuntimeData.json(count))
            (await session.receive("n2", timeout=60)).release()
            costs.append(1e6 * (cpu_seconds(pid) - cpu) / count)
    return costs[1:]


def _bare_calls(rounds: int) -> list[float]:
    """Return what taking and forwarding a message costs, in microseconds, over batches that wait in the ring."""
    channels = [
        ChannelPlan(0, "there", HOST, "output", "node", "input", _BATCH),
        ChannelPlan(1, "back", "node", "output", HOST, "input", _BATCH),
    ]
    layout = arena_layout(["node", HOST], channels, max_message_bytes=1 << 20, shm_bytes=16 << 20)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ringline-bench-", dir="/dev/shm")))
        host = stack.enter_context(Arena.create(folder, layout))
        arena = stack.enter_context(Arena.attach(folder, "node"))
        there, back = host.writer(["there"]), host.reader("back")
        reader, writer = arena.reader("there"), arena.writer(["back"])
        costs = []
        for _ in range(rounds):
            for _ in range(_BATCH):
                there.send(bytes(960), 1, b"", 0)
            began = time.thread_time_ns()
            while (lease := reader.next()) is not None:
                writer.forward(lease, lease.kind, lease.meta, lease.timestamp)
                lease.release()
            costs.append((time.thread_time_ns() - began) / 1e3 / _BATCH)
            while back.next() is not None:
                pass
    return costs
