"""The measurements behind `ringline bench`: each runs a real session, or a node alone, and returns seconds."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from ringline.cli.media import read_messages
from ringline.data import DataType, RuntimeData
from ringline.errors import NodeError
from ringline.graph.pipeline import Pipeline
from ringline.names import MAX_ARENA_BYTES
from ringline.session import Session

_T = TypeVar("_T")
WARM_UP: Final = 20
"""Messages sent before the clock runs: the first ones page memory in and train the spin."""
STARTED: Final = 2
"""Sessions started before the clock runs: the first reads the interpreter's files from the disk."""


def run(measurement: Coroutine[Any, Any, _T]) -> _T:
    """Run a measurement on an event loop of its own."""
    return asyncio.run(measurement)


def chain(hops: int, largest: int) -> Pipeline:
    """Build a chain of nodes that pass everything on."""
    pipeline = Pipeline(name="bench")
    for number in range(hops):
        pipeline.add_node("pass_through", f"hop{number}")
        if number:
            pipeline.connect(f"hop{number - 1}", "output", f"hop{number}", "input")
    pipeline.input("first", to="hop0.input").output("last", from_=f"hop{hops - 1}.output")
    pipeline.runtime(
        max_processes_per_session=None, max_message_size=max(1 << 20, largest), shm_segment_size=MAX_ARENA_BYTES
    )
    return pipeline


async def chain_seconds(hops: int, size: int, count: int) -> list[float]:
    """Send one message at a time through a chain and return how long each took, there and back."""
    message = RuntimeData.binary(bytes(size))
    seconds: list[float] = []
    async with Session(_session_id(), chain(hops, size)) as session:
        for number in range(WARM_UP + count):
            began = time.perf_counter()
            await session.send("first", message)
            received = await session.receive("last")
            if number >= WARM_UP:
                seconds.append(time.perf_counter() - began)
            received.release()
    return seconds


async def spawn_seconds(nodes: int, count: int) -> tuple[list[float], list[float]]:
    """Start and end sessions; return the seconds until all nodes were ready, and those of the cleanup."""
    up: list[float] = []
    down: list[float] = []
    for number in range(STARTED + count):
        session = Session(_session_id(), chain(nodes, 4096))
        began = time.perf_counter()
        await session.initialize()
        ready = time.perf_counter()
        await session.cleanup()
        if number >= STARTED:
            up.append(ready - began)
            down.append(time.perf_counter() - ready)
    return up, down


def _session_id() -> str:
    return f"bench-{os.getpid()}"


async def node_seconds(
    name: str,
    entry: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    file: str | None,
    port: str | None,
    count: int,
    paths: Sequence[Path],
) -> tuple[float, list[float], int]:
    """Feed one node alone; return the seconds of its start, of each message, and the first message's bytes."""
    from ringline.node.base import SourceNode
    from ringline.node.registry import resolve
    from ringline.testing import NodeHarness

    cls = resolve(name, extra_paths=[str(path) for path in paths])
    began = time.perf_counter()
    async with NodeHarness(cls, config, node_id=name) as harness:
        start = time.perf_counter() - began
        if issubclass(cls, SourceNode):
            return start, *await _produced(harness, count)
        messages = messages_for(entry, file, port)
        return start, await _processed(harness, messages, port, count), messages[0].size()


async def _processed(harness: Any, messages: Sequence[RuntimeData], port: str | None, count: int) -> list[float]:
    seconds: list[float] = []
    for message in islice(cycle(messages), count):
        began = time.perf_counter()
        await harness.send(message, port)
        seconds.append(time.perf_counter() - began)
    return seconds


async def _produced(harness: Any, count: int) -> tuple[list[float], int]:
    seconds: list[float] = []
    size = 0
    began = time.perf_counter()
    async for output in harness:
        seconds.append(time.perf_counter() - began)
        size = size or output.data.size()
        if len(seconds) == count:
            break
        began = time.perf_counter()
    if not seconds:
        raise NodeError("the source produced nothing; give it what it needs with --set")
    return seconds, size


def messages_for(entry: Mapping[str, Any], file: str | None, port: str | None) -> list[RuntimeData]:
    """Return what to feed: a file's messages, or one invented message of the input's data type."""
    ports: Mapping[str, str] = entry.get("inputs") or {}
    port = port or next(iter(ports), "")
    kind = ports.get(port, "any")
    if kind == "any" and port in list(DataType):
        kind = port  # takes anything that can be made its own: a port called text, numbers too
    if file is not None:
        found = list(read_messages(file, kind if "|" not in kind else "any"))
        if not found:
            raise NodeError(f"there is no message in {file}")
        return found
    return [_invented(kind.partition("|")[0])]


def _invented(kind: str) -> RuntimeData:
    """Return an ordinary message of a data type: 20 ms of noise, a 480p picture, a short text."""
    random = np.random.default_rng(0)
    if kind == DataType.VIDEO:
        return RuntimeData.video(random.integers(0, 255, (480, 640, 3), np.uint8), fps=30.0)
    if kind == DataType.TEXT:
        return RuntimeData.text("turn on the light")
    if kind == DataType.TENSOR:
        return RuntimeData.tensor(random.random((16, 256), np.float32))
    if kind == DataType.ARRAYS:
        return RuntimeData.arrays(
            {"boxes": random.random((16, 4), np.float32), "scores": random.random(16, np.float32)}
        )
    if kind == DataType.JSON:
        return RuntimeData.json({"value": 1})
    if kind == DataType.CONTROL:
        return RuntimeData.control("mark")
    return RuntimeData.audio(random.uniform(-0.1, 0.1, 960).astype(np.float32), 48000)
