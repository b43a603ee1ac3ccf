"""A node killed with SIGKILL: until the application is told, until `receive` raises, until the session is gone.

The middle one of three nodes dies while blocks flow. The others end at once, as nodes do that have nothing to clean up.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from benchmarks.nodes import BLOCK, RATE
from benchmarks.rows import Bar, Row
from benchmarks.sessions import alive, chain, node, running
from ringline import ProcessCrashed, RuntimeData, Session


def measure(*, quick: bool) -> Iterator[Row]:
    reported: list[float] = []
    raised: list[float] = []
    ended: list[float] = []
    for _ in range(1 if quick else 20):
        times = asyncio.run(_kill())
        for values, value in zip((reported, raised, ended), times, strict=True):
            values.append(value)
    second = Bar(1000.0, "1 s", "max")
    yield Row("killed to on_process_crash called", "ms", reported, second)
    yield Row("killed to receive() raising ProcessCrashed", "ms", raised)
    yield Row("killed to the session ended, no process left", "ms", ended, second)


async def _kill() -> tuple[float, float, float]:
    """Return the three times in milliseconds after the kill."""
    async with running(
        chain([node("SyncPass"), node("AsyncHop"), node("SyncPass")]), shm_segment_size=128 << 20
    ) as session:
        told: list[float] = []
        session.on_process_crash(lambda _: told.append(time.monotonic()))
        feeding = asyncio.create_task(_feed(session))
        receiving = asyncio.create_task(_receive(session))
        await asyncio.sleep(0.2)
        nodes = (await session.get_status()).nodes
        pids = [status.pid for status in nodes.values() if status.pid]
        killed = time.monotonic()
        os.kill(nodes["n1"].pid or 0, signal.SIGKILL)
        raised = await receiving
        with suppress(ProcessCrashed):
            await session.wait()
        while alive(pids):  # noqa: ASYNC110  (the end of somebody else's process is no event of this loop)
            await asyncio.sleep(0.001)
        ended = time.monotonic()
        await asyncio.gather(feeding, return_exceptions=True)
        return (told[0] - killed) * 1e3, (raised - killed) * 1e3, (ended - killed) * 1e3


async def _feed(session: Session) -> None:
    with suppress(ProcessCrashed):
        while True:
            await session.send("n0", RuntimeData.audio(np.zeros(BLOCK, np.float32), RATE))
            await asyncio.sleep(0.01)


async def _receive(session: Session) -> float:
    try:
        while True:
            (await session.receive("n2", timeout=30)).release()
    except ProcessCrashed:
        return time.monotonic()
