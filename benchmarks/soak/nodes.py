"""The eight nodes of the soak, written as a user would write them, and what each message must look like.

A payload begins with its own timestamp (CLOCK_MONOTONIC, ns) and is otherwise filled with one byte that follows from it, so
that every reader sees whether a message is whole, in order and not another one's. A node that meets a wrong message ends
with `WRONG` in its error, which the report looks for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import numpy as np

from ringline import MultiprocessNode, RuntimeData, SourceNode

FPS: Final = 30
BLOCKS_PER_S: Final = 100
SAMPLES: Final = 480
WRONG: Final = "WRONG MESSAGE"
Array = np.ndarray[Any, Any]


def mark(array: Array, timestamp: int) -> None:
    """Fill a C-contiguous array with what a message of this time holds."""
    flat = array.reshape(-1).view(np.uint8)
    flat[8:] = timestamp >> 16 & 0xFF
    flat[:8].view(np.int64)[0] = timestamp


class Oracle:
    """Knows what a channel may deliver: whole messages, each later than the one before."""

    def __init__(self) -> None:
        self._last = 0

    def check(self, data: RuntimeData) -> None:
        """Raise AssertionError for a torn, foreign, doubled or reordered message."""
        if data.timestamp <= self._last:
            raise AssertionError(f"{WRONG}: time {data.timestamp} after {self._last}")
        self._last = data.timestamp
        if data.type in ("json", "text"):
            found = data.as_json()["time"]
            whole = True
        else:
            flat = data.as_numpy().reshape(-1).view(np.uint8)
            found = int(flat[:8].view(np.int64)[0])
            whole = bool((flat[8:] == data.timestamp >> 16 & 0xFF).all())
        if found != data.timestamp or not whole:
            raise AssertionError(f"{WRONG}: a message of time {data.timestamp} holds {found}, whole: {whole}")


class Tested(MultiprocessNode):
    """Checks what it gets, and does as it is told: ``{"slow_s": …, "for_s": …}`` or ``{"fail": true}``."""

    _slow_s = _until = 0.0
    _fail = False

    def initialize(self) -> None:
        self._oracle = Oracle()

    def on_parameters(self, parameters: dict[str, Any]) -> None:
        self._fail = bool(parameters.get("fail"))
        self._slow_s = float(parameters.get("slow_s", 0.0))
        self._until = time.monotonic() + float(parameters.get("for_s", 0.0))

    def obey(self) -> float:
        """Fail if told to; give the seconds that this message is to take longer."""
        if self._fail:
            raise RuntimeError("told to fail")
        return self._slow_s if time.monotonic() < self._until else 0.0

    def taken(self, data: RuntimeData) -> RuntimeData:
        self._oracle.check(data)
        time.sleep(self.obey())
        return data


class Camera(SourceNode, Tested):
    """640 × 480 pixels at 30 fps, written in place."""

    async def produce(self) -> AsyncIterator[RuntimeData]:
        due = time.monotonic()
        while True:
            due = max(due + 1 / FPS, time.monotonic() - 1)
            await asyncio.sleep(due - time.monotonic() + self.obey())
            timestamp = time.monotonic_ns()
            picture = self.loan((480, 640, 3))
            mark(picture, timestamp)
            yield RuntimeData.video(picture, fps=FPS, timestamp=timestamp)


class Microphone(SourceNode, Tested):
    """10 ms of 48 kHz at 100 Hz, copied."""

    def produce(self) -> Iterator[RuntimeData]:
        due = time.monotonic()
        while True:
            due = max(due + 1 / BLOCKS_PER_S, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()) + self.obey())
            timestamp = time.monotonic_ns()
            samples = np.empty(SAMPLES, np.int16)
            mark(samples, timestamp)
            yield RuntimeData.audio(samples, 48_000, timestamp=timestamp)


class Resize(Tested):
    """A quarter of the picture, in a block of its own heap."""

    def process(self, data: RuntimeData) -> RuntimeData:
        self.taken(data)
        small = self.loan((240, 320, 3))
        mark(small, data.timestamp)
        return RuntimeData.video(small, fps=FPS, timestamp=data.timestamp)


class Gain(Tested):
    """A changed copy of the sound."""

    def process(self, data: RuntimeData) -> RuntimeData:
        samples = self.taken(data).as_numpy().copy()
        mark(samples, data.timestamp)
        return RuntimeData.audio(samples, 48_000, timestamp=data.timestamp)


class Forward(Tested):
    """Passes on the very block, on an event loop."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        self._oracle.check(data)
        await asyncio.sleep(self.obey())
        return data


class Report(Tested):
    """A few bytes of JSON for each message."""

    def process(self, data: RuntimeData) -> RuntimeData:
        self.taken(data)
        return RuntimeData.json({"time": data.timestamp, "level": 0.5}, timestamp=data.timestamp)
