"""Feeding a file into a session input, as quickly as the channel takes it or at the media's own pace."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from ringline.cli.media import read_messages
from ringline.cli.shapes import EndShape

if TYPE_CHECKING:
    from ringline.data import RuntimeData


class Session(Protocol):
    """What a feed needs of a session."""

    async def send(self, node_id: str, data: Any) -> object:
        """Put a message into an input."""

    async def end(self, node_id: str | None = None) -> None:
        """End an input."""


class Feed:
    """One file for one input; counts what was sent."""

    def __init__(self, name: str, path: str, declared: str) -> None:
        self.name = name
        self.messages = 0
        self.bytes = 0
        self._path = path
        self._declared = str(declared)

    async def run(self, session: Session, *, realtime: bool, block_ms: float) -> None:
        """Send the whole file, then end the input."""
        messages = read_messages(self._path, self._declared, block_ms=block_ms)
        began = time.monotonic()
        async with contextlib.aclosing(read(messages, wait=Path(self._path).is_file())) as arriving:
            async for data in arriving:
                if realtime:
                    await asyncio.sleep(began + data.timestamp / 1e9 - time.monotonic())
                await session.send(self.name, data)
                self.messages += 1
                self.bytes += data.size()
        await session.end(self.name)

    def shape(self) -> EndShape:
        """Return what was sent, as the documented JSON."""
        return EndShape(messages=self.messages, bytes=self.bytes, file=self._path)


async def read(messages: Iterator[RuntimeData], *, wait: bool) -> AsyncGenerator[RuntimeData, None]:
    """Iterate in a thread of its own: decoding a picture or waiting for stdin must not stop the session's own loop.

    A loop that ends early waits for the message that is being read, unless `wait` is False: stdin or a pipe may never give it.
    """
    loop = asyncio.get_running_loop()
    asked: SimpleQueue[asyncio.Future[RuntimeData | None] | None] = SimpleQueue()
    thread = threading.Thread(target=_serve, args=(messages, asked, loop), name="ringline-feed", daemon=True)
    thread.start()
    try:
        while True:
            answer: asyncio.Future[RuntimeData | None] = loop.create_future()
            asked.put(answer)
            if (data := await answer) is None:
                return
            yield data
    finally:
        asked.put(None)
        if wait:
            thread.join()


def _serve(
    messages: Iterator[RuntimeData],
    asked: SimpleQueue[asyncio.Future[RuntimeData | None] | None],
    loop: asyncio.AbstractEventLoop,
) -> None:
    while (answer := asked.get()) is not None:
        found: RuntimeData | BaseException | None
        try:
            found = next(messages, None)
        except Exception as error:
            found = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(_give, answer, found)


def _give(answer: asyncio.Future[RuntimeData | None], found: RuntimeData | BaseException | None) -> None:
    if answer.cancelled():
        return
    if isinstance(found, BaseException):
        answer.set_exception(found)
    else:
        answer.set_result(found)
