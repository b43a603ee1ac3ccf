"""Feeding a file into a session input, as quickly as the channel takes it or at the media's own pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
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
        while (data := await asyncio.to_thread(_next, messages)) is not None:
            if realtime:
                await asyncio.sleep(began + data.timestamp / 1e9 - time.monotonic())
            await session.send(self.name, data)
            self.messages += 1
            self.bytes += data.size()
        await session.end(self.name)

    def shape(self) -> EndShape:
        """Return what was sent, as the documented JSON."""
        return EndShape(messages=self.messages, bytes=self.bytes, file=self._path)


def _next(messages: Iterator[RuntimeData]) -> RuntimeData | None:
    # In a thread: decoding a picture or waiting for stdin must not stop the session's own loop.
    return next(messages, None)
