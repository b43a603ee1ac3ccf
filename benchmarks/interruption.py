"""A user interrupts: from the flush to the last sound of the old answer at the output.

The speaker makes sound much faster than it is heard, so that every channel is full of it when the flush comes; the listener
takes blocks at the pace of sound. Old blocks that arrive after the flush count until the last one; the new answer starts at
once, so that the channel is never empty. Half of the rounds have a synchronous generator, half an asynchronous one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from benchmarks.rows import Bar, Row
from benchmarks.sessions import chain, node, running
from ringline import RuntimeData, Session


def measure(*, quick: bool) -> Iterator[Row]:
    rounds = 5 if quick else 100
    for kind in ("SyncSpeaker", "AsyncSpeaker"):
        silences, returns, resumes = asyncio.run(_interrupt(kind, rounds))
        name = "sync generator" if kind == "SyncSpeaker" else "async generator"
        bar = Bar(50.0, "50 ms", "p99")
        yield Row(f"{name}: flush to the last old sound at the output", "ms", silences, bar, "0: none came after it")
        yield Row(f"{name}: flush to every node having confirmed it", "ms", returns, bar)
        yield Row(f"{name}: flush to the first sound of the next answer", "ms", resumes)


async def _interrupt(kind: str, rounds: int) -> tuple[list[float], list[float], list[float]]:
    silences: list[float] = []
    returns: list[float] = []
    resumes: list[float] = []
    pipeline = chain([node(kind), node("SyncPass"), node("AsyncHop")])
    async with running(pipeline, shm_segment_size=128 << 20, channel_capacity=50) as session:
        await session.send("n0", 1)
        for utterance in range(1, rounds + 1):
            await _listen(session, utterance, 0.1)
            began = time.monotonic()
            flushing = asyncio.create_task(_flush(session, began, returns))
            last, first = await _until_next(session, utterance, flushing)
            silences.append((last - began) * 1e3 if last else 0.0)
            resumes.append((first - began) * 1e3)
        await session.flush("n0")
    return silences, returns, resumes


async def _flush(session: Session, began: float, returns: list[float]) -> None:
    await session.flush("n0")
    returns.append((time.monotonic() - began) * 1e3)


async def _listen(session: Session, utterance: int, seconds: float) -> None:
    """Hear the answer for a while, a block every 10 ms, while the channels behind fill up."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert await _hear(session) == utterance
        await asyncio.sleep(0.01)


async def _hear(session: Session) -> int:
    got: RuntimeData = await session.receive("n2", timeout=30)
    utterance = round(float(got.as_numpy()[-1]))
    got.release()
    return utterance


async def _until_next(session: Session, utterance: int, flushing: asyncio.Task[None]) -> tuple[float, float]:
    """Hear without pause until the next answer begins: the times of the last old and the first new block."""
    last = 0.0
    asked = False
    while True:
        hearing = asyncio.create_task(_hear(session))
        while not hearing.done():
            await asyncio.wait({hearing} if asked else {hearing, flushing}, return_when=asyncio.FIRST_COMPLETED)
            if flushing.done() and not asked:
                flushing.result()
                asked = await session.send("n0", utterance + 1)
        now = time.monotonic()
        if hearing.result() != utterance:
            return last, now
        last = now
