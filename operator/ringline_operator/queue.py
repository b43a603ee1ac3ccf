"""The queue of pipelines that want a look: whatever happens to one, it stands there once."""

from __future__ import annotations

import asyncio

Key = tuple[str, str]
"""Namespace and pipeline name: what is reconciled together."""


class WorkQueue:
    """Keys in the order in which they came, each at most once; a key that is worked on comes again afterwards."""

    def __init__(self) -> None:
        self._order: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._busy: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._rests: dict[Key, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key) -> None:
        """Ask for a look at `key`."""
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._order.put_nowait(key)

    def add_after(self, key: Key, delay: float) -> None:
        """Ask for a look after `delay` seconds; the earlier of two requests counts."""
        loop = asyncio.get_running_loop()
        known = self._timers.get(key)
        if known is not None and loop.time() < known.when() <= loop.time() + delay:
            return
        if known is not None:
            known.cancel()
        self._timers[key] = loop.call_later(delay, self._due, key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def take(self) -> Key:
        """Wait for a key and mark it busy."""
        key = await self._order.get()
        self._waiting.discard(key)
        self._busy.add(key)
        return key

    def done(self, key: Key, rest: float = 0.0) -> None:
        """Say that the look is over. The next one comes after `rest` seconds at the earliest."""
        if rest > 0:
            loop = asyncio.get_running_loop()
            self._rests[key] = loop.call_later(rest, self._rested, key)
        else:
            self._rested(key)

    def _rested(self, key: Key) -> None:
        self._rests.pop(key, None)
        self._busy.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Cancel all timers."""
        for timer in (*self._timers.values(), *self._rests.values()):
            timer.cancel()
        self._timers.clear()
        self._rests.clear()
