"""The base of nodes that hold messages back until others come or a time has passed: mix, batch, join, reorder, draw.

Such a node says what it takes, what may leave now, and when to look again; this class does the clock, the order and the flush.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from ringline import MultiprocessNode, RuntimeData

Leaving = tuple[str | None, RuntimeData]
"""A message and the port that it leaves by (None: the only one)."""


HELD_BLOCKS = 8
"""So many messages of an input are held in place; later ones are copied, since a reader may hold only capacity + 16 of a
channel, and what it holds its sender can't use."""


def kept(data: RuntimeData, held: int) -> RuntimeData:
    """Give the message itself, or a copy of it if `held` messages of its input are held already."""
    return data if held < HELD_BLOCKS else data.copy()


class WaitingNode(MultiprocessNode):
    """Override `take`, `due`, `deadline` and `forget`; they are plain functions of the loop's time in seconds."""

    _ended: frozenset[str] = frozenset()

    def take(self, data: RuntimeData, now: float) -> None:
        """Keep a message that has arrived at `now`."""

    def due(self, now: float, *, ending: bool) -> Iterable[Leaving]:
        """Give what may leave at `now`, in order, and forget it; everything when `ending`."""
        del now, ending
        return ()

    def deadline(self) -> float | None:
        """Say when to look again if nothing arrives; None: no need."""
        return None

    def forget(self) -> None:
        """Drop everything that is held (also called once before the first message)."""

    @property
    def awaited(self) -> list[str]:
        """The connected inputs that may still deliver something."""
        return [port for port in self.input_ports if port not in self._ended]

    def initialize(self) -> None:
        self._order = asyncio.Lock()
        self._alarm: asyncio.Task[None] | None = None
        self._flushes = 0
        self.forget()

    async def process(self, data: RuntimeData) -> None:
        self._raise_failure()
        self.take(data, asyncio.get_running_loop().time())
        await self._send_due()
        self._set_alarm()

    async def on_input_end(self, port: str) -> None:
        """Let go what waited for this input only."""
        self._raise_failure()
        self._ended |= {port}
        await self._send_due()

    async def on_end(self) -> None:
        self._raise_failure()
        await self._stop_alarm()
        await self._send_due(ending=True)

    async def on_flush(self) -> None:
        self._flushes += 1
        self.forget()
        await self._stop_alarm()

    async def cleanup(self) -> None:
        await self._stop_alarm()

    async def _send_due(self, *, ending: bool = False) -> None:
        """Send one batch of due messages after another; the lock keeps their order, a flush stops it."""
        async with self._order:
            flushes = self._flushes
            for port, data in list(self.due(asyncio.get_running_loop().time(), ending=ending)):
                if flushes != self._flushes:
                    return
                await self.emit_async(port, data)

    def _set_alarm(self) -> None:
        if self._alarm is None and self.deadline() is not None:
            self._alarm = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Send what is due by time, until nothing is held any more."""
        loop = asyncio.get_running_loop()
        while (at := self.deadline()) is not None:
            await asyncio.sleep(max(0.0, at - loop.time()))
            await self._send_due()
        self._alarm = None

    async def _stop_alarm(self) -> None:
        alarm, self._alarm = getattr(self, "_alarm", None), None
        if alarm is not None:
            alarm.cancel()
            with suppress(asyncio.CancelledError):
                await alarm

    def _raise_failure(self) -> None:
        """Raise what ended the watching task: an error there is the node's error."""
        if self._alarm is not None and self._alarm.done():
            alarm: asyncio.Task[Any] = self._alarm
            self._alarm = None
            alarm.result()
