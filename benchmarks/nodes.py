"""Nodes that the benchmarks run, written as a user would write them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np

from ringline import AudioMetadata, DataType, MultiprocessNode, RuntimeData

RATE = 48_000
BLOCK = RATE // 100


STAMPS = 8
"""Where in a block the times of leaving begin; those of arriving are before."""


def stamped(data: RuntimeData, index: int) -> RuntimeData:
    """Return the block with the times at which this node began and finished to work on it, in its places."""
    arrived = time.monotonic_ns()
    samples = data.as_numpy().copy()
    times = samples.view(np.int64)
    times[index] = arrived
    answer = RuntimeData(
        type=DataType.AUDIO,
        payload=samples,
        session_id=data.session_id,
        timestamp=data.timestamp,
        metadata=AudioMetadata(sample_rate=RATE, channels=1, format="f32"),
    )
    times[STAMPS + index] = time.monotonic_ns()
    return answer


class SyncHop(MultiprocessNode):
    def process(self, data: RuntimeData) -> RuntimeData:
        return stamped(data, self.config["index"])


class AsyncHop(MultiprocessNode):
    async def process(self, data: RuntimeData) -> RuntimeData:
        return stamped(data, self.config["index"])


def speech(utterance: Any) -> Iterator[RuntimeData]:
    """Yield sound without end, each block saying whose it is."""
    number = 0
    while True:
        block = np.full(BLOCK, utterance, np.float32)
        yield RuntimeData.audio(block, RATE, timestamp=number * 10_000_000)
        number += 1


class SyncSpeaker(MultiprocessNode):
    """Answers a number with sound that never ends, much faster than it is heard."""

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        return speech(data.as_json())


class AsyncSpeaker(MultiprocessNode):
    """The same on an event loop."""

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        for block in speech(data.as_json()):
            yield block
            await asyncio.sleep(0)


class SyncPass(MultiprocessNode):
    """Passes blocks on as they are, without a copy."""

    def process(self, data: RuntimeData) -> RuntimeData:
        return data


class AsyncPass(MultiprocessNode):
    """The same on an event loop."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        return data


class SyncBurst(MultiprocessNode):
    """Answers a number with as many small messages, as fast as they are taken."""

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        message = RuntimeData.audio(np.zeros(BLOCK // 2, np.float32), RATE)
        for _ in range(data.as_json()):
            yield message


class SyncCount(MultiprocessNode):
    """Takes `each` messages (its configuration), then says so."""

    seen = 0

    def process(self, data: RuntimeData) -> RuntimeData | None:
        del data
        self.seen += 1
        return RuntimeData.json(self.seen) if self.seen % self.config["each"] == 0 else None
