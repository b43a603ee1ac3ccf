"""Waiting for shared memory on an event loop: the rings are looked at before the loop sleeps, and a FIFO wakes it.

Only the async driver uses it. Several tasks may wait at once: the main one for input, others for room in a channel.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringline.shm import Arena


class Bell:
    """The arena's doorbell as something to await."""

    def __init__(self, loop: asyncio.AbstractEventLoop, arena: Arena) -> None:
        self._loop = loop
        self._arena = arena
        self._waiting: list[asyncio.Future[None]] = []
        loop.add_reader(arena.poll_fd, self.ring)

    async def wait(self, timeout_s: float | None = None) -> None:
        """Sleep until something may have changed; if it has already, only let the other tasks have a look too."""
        if self._arena.arm():
            self.ring()
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(future)
        if timeout_s is None:
            await future
        else:
            await asyncio.wait([future], timeout=timeout_s)

    def ring(self) -> None:
        """Wake every waiting task: the FIFO was written, or the host ordered something."""
        self._arena.disarm()
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        """Stop watching the FIFO."""
        self._loop.remove_reader(self._arena.poll_fd)
