"""Waiting for shared memory on an event loop: the rings are looked at before the loop sleeps, and a FIFO wakes it.

Only the async driver uses it. `RingSelector` is the loop's selector: it wakes who waits for the bell in the same turn of
the loop in which the FIFO woke it, which saves a turn per message. Several tasks may wait at once: the main one for input,
others for room in a channel. `NodeLoop` knows when nothing but a message, or another thread, can wake this process: then its
main task may sleep in shared memory itself, as a plain node does, which spares the FIFO and the turn of the loop.
"""

from __future__ import annotations

import asyncio
import os
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, TypeVarTuple

if TYPE_CHECKING:
    from ringline.shm import Arena

_Ts = TypeVarTuple("_Ts")
_OURS: Final = 2
"""Descriptors that are watched in any case: the doorbell and the loop's own pipe."""

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


class NodeLoop(asyncio.SelectorEventLoop):
    """The event loop of an async node."""

    def __init__(self) -> None:
        self.rings = RingSelector()
        super().__init__(self.rings)
        self._signals = False
        self._asleep: Arena | None = None

    def doze(self, arena: Arena, timeout_s: float | None) -> bool:
        """Sleep outside the loop until something comes; False at once if a task, a timer, a descriptor or a signal may be next."""
        self._asleep = arena
        try:
            if not self._alone():
                return False
            arena.wait(timeout_s)
            return True
        finally:
            self._asleep = None

    def has_work(self) -> bool:
        """Say whether callbacks wait for their turn."""
        loop: Any = self
        return bool(loop._ready)  # noqa: SLF001

    def _alone(self) -> bool:
        """Say whether nothing is left that only the loop could wake: a callback, a timer, a descriptor, a signal."""
        loop: Any = self
        return not (loop._ready or loop._scheduled or self._signals or len(self.rings.get_map()) != _OURS)  # noqa: SLF001

    def call_soon_threadsafe(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Wake the main task as well, which may sleep outside the loop."""
        handle = super().call_soon_threadsafe(callback, *args, context=context)
        asleep = self._asleep
        if asleep is not None:
            asleep.wake()
        return handle

    def add_signal_handler(self, sig: int, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """From now on the loop's own pipe must be listened to: signals come through it."""
        self._signals = True
        super().add_signal_handler(sig, callback, *args)


class Bell:
    """The arena's doorbell as something to await."""

    def __init__(self, loop: NodeLoop, arena: Arena) -> None:
        self._loop = loop
        self._selector = selector = loop.rings
        self._arena = arena
        self._armed = False
        self.waiting: list[asyncio.Future[None]] = []
        self.descriptor = arena.poll_fd
        selector.register(self.descriptor, selectors.EVENT_READ)
        selector.bell = self

    async def rest(self, timeout_s: float | None = None) -> None:
        """Sleep until something may have changed; only for the main task, and only while it wants input alone."""
        if self.waiting or not self._loop.doze(self._arena, timeout_s):
            await self.wait(timeout_s)
        elif self._loop.has_work():
            await asyncio.sleep(0)

    async def wait(self, timeout_s: float | None = None) -> None:
        """Sleep until something may have changed, at least for one turn of the loop."""
        future: asyncio.Future[None] = self._loop.create_future()
        self.waiting.append(future)
        try:
            if timeout_s is None:
                await future
            else:
                await asyncio.wait([future], timeout=timeout_s)
        finally:
            if future in self.waiting:  # its time is over, or it was cancelled
                self.waiting.remove(future)

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
