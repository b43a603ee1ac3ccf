"""What waiting costs: nodes without work, nodes that get a message 30 times a second, and receivers of peers at that pace.

CPU time of a node is that of all its threads, as the scheduler counts it (`/proc/PID/task/*/schedstat`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.nodes import BLOCK, RATE
from benchmarks.pairs import PLACES, pairs
from benchmarks.peers.base import Transport
from benchmarks.peers.iceoryx import IceoryxTransport
from benchmarks.peers.ours import RawRinglineTransport
from benchmarks.peers.queues import QueueTransport
from benchmarks.peers.shared import SharedMemoryTransport
from benchmarks.peers.sockets import ZmqTransport
from benchmarks.rows import Bar, Row
from benchmarks.sessions import chain, node, running
from ringline import RuntimeData, Session

FPS: Final = 30
_KINDS: Final = {"sync process": "SyncPass", "async process": "AsyncPass"}


def measure(*, quick: bool) -> Iterator[Row]:
    seconds = 0.5 if quick else 5.0
    for what, kind in _KINDS.items():
        idle, paced = asyncio.run(_node(kind, seconds))
        about = {"verdict": f"CPU of an idle node, {what}"}
        yield Row(f"idle node, {what}: CPU", "%", [idle], Bar(0.05, "0 %, rounded to a tenth"), labels=about)
        about = {"verdict": f"CPU of a node at {FPS} messages per second, {what}"}
        yield Row(f"node at {FPS} fps, {what}: CPU", "%", [paced], Bar(0.5, "0.5 %"), labels=about)
    absent: list[Row] = []
    peers = (RawRinglineTransport, IceoryxTransport, SharedMemoryTransport, ZmqTransport, QueueTransport)
    makers: list[Callable[[], Transport]] = [partial(maker, streaming=True, largest=4096) for maker in peers]
    with pairs(makers, absent, "waiting") as connected:
        for pair in connected:
            with pair.placed(PLACES[0]):
                share = pair.stream(np.ones(960, np.uint8), int(seconds * FPS / 2), pace_s=1 / FPS)["cpu"]
            name = pair.transport.name
            yield Row(
                f"{name}: CPU of a receiver at {FPS} fps", "%", [100 * share], labels={"peer": name, "way": "30 fps"}
            )
    yield from absent


async def _node(kind: str, seconds: float) -> tuple[float, float]:
    """Return the CPU of a node without work and at `FPS`, in percent."""
    async with running(chain([node(kind)]), shm_segment_size=128 << 20) as session:
        (status,) = (await session.get_status()).nodes.values()
        await _feed(session, 10)
        await asyncio.sleep(0.5)
        shares = []
        for work in (asyncio.sleep(seconds), _feed(session, int(seconds * FPS))):
            began, cpu = time.monotonic(), cpu_seconds(status.pid or 0)
            await work
            shares.append(100 * (cpu_seconds(status.pid or 0) - cpu) / (time.monotonic() - began))
        return shares[0], shares[1]


async def _feed(session: Session, count: int) -> None:
    begin = time.monotonic()
    for number in range(count):
        await session.send("n0", RuntimeData.audio(np.zeros(BLOCK, np.float32), RATE))
        (await session.receive("n0", timeout=10)).release()
        await asyncio.sleep(max(0.0, begin + (number + 1) / FPS - time.monotonic()))


def cpu_seconds(pid: int) -> float:
    """Add up what all threads of a process have run."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            total += int((thread / "schedstat").read_text(encoding="utf-8").split()[0])
    return total / 1e9
