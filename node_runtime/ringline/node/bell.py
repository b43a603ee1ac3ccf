"""Waiting for shared memory on an event loop: the rings are looked at before the loop sleeps, and a FIFO wakes it.

Only the async driver uses it. `RingSelector` is the loop's selector: it wakes who waits for the bell in the same turn of
the loop in which the FIFO woke it, which saves a turn per message. Several tasks may wait at once: the main one for input,
others for room in a channel.
"""

from __future__ import annotations

import asyncio
import os
import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringline.shm import Arena

_Events = list[tuple[selectors.SelectorKey, int]]


class RingSelector(selectors.EpollSelector):
    """A selector that also looks at the rings, once `bell` is set."""

    bell: Bell | None = None

    def select(self, timeout: float | None = None) -> _Events:
        """Wait as a selector does; the loop never sees the FIFO itself."""
        bell = self.bell
        if bell is None:
            return super().select(timeout)
        if bell.waiting and bell.look():
            timeout = 0
        events = super().select(timeout)
        for event in events:
            if event[0].fd == bell.descriptor:
                bell.ring()
                events.remove(event)
                break
        return events


class Bell:
    """The arena's doorbell as something to await."""

    def __init__(self, loop: asyncio.AbstractEventLoop, selector: RingSelector, arena: Arena) -> None:
        self._loop = loop
        self._selector = selector
        self._arena = arena
        self._armed = False
        self.waiting: list[asyncio.Future[None]] = []
        self.descriptor = arena.poll_fd
        selector.register(self.descriptor, selectors.EVENT_READ)
        selector.bell = self

    async def wait(self, timeout_s: float | None = None) -> None:
        """Sleep until something may have changed, at least for one turn of the loop."""
        future: asyncio.Future[None] = self._loop.create_future()
        self.waiting.append(future)
        if timeout_s is None:
            await future
        else:
            await asyncio.wait([future], timeout=timeout_s)

    def look(self) -> bool:
        """Look at the rings before the loop sleeps; wakes the waiting if there is something already."""
        self._armed = True
        if not self._arena.arm():
            return False
        self.ring()
        return True

    def ring(self) -> None:
        """Wake every waiting task: the rings have something, or the host ordered something."""
        if self._armed:
            self._armed = False
            self._arena.disarm()
        else:
            self._drain()
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _drain(self) -> None:
        """Take what a ringer wrote after the last look: left there, it would keep the loop awake."""
        try:
            os.read(self.descriptor, 256)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Stop watching the FIFO."""
        self._selector.bell = None
        self._selector.unregister(self.descriptor)
