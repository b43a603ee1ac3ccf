"""What a spawned process prints, for whoever wants to read it: `SpawnedProcess.stdout` and `.stderr`.

Nobody has to: only the last lines are kept, so a flood neither fills memory nor holds the process up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Self

MOST: Final = 1000
"""Lines that wait to be read; of more the oldest go."""


class Lines:
    """The lines of one stream, in the event loop of its handle."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=MOST)
        self._over = False
        self._news = asyncio.Event()
        self.dropped = 0
        """How many were printed that nobody has read in time."""

    def feed(self, line: str) -> None:
        """Take a line, without its end."""
        self.dropped += len(self._lines) == MOST
        self._lines.append(line)
        self._news.set()

    def feed_eof(self) -> None:
        """Say that no more will come."""
        self._over = True
        self._news.set()

    def at_eof(self) -> bool:
        """Say whether everything was read and no more will come."""
        return self._over and not self._lines

    async def readline(self) -> bytes:
        """Give the next line with its end, or b"" after the last, as `asyncio.StreamReader` does."""
        while not self._lines:
            if self._over:
                return b""
            self._news.clear()
            await self._news.wait()
        return self._lines.popleft().encode() + b"\n"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line
