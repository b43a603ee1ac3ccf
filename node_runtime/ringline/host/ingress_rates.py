"""Limits for clients from outside: how fast one may send, and how often a wrong token may be tried."""

from __future__ import annotations

import asyncio
import time
from collections import deque


class Bucket:
    """`rate` messages a second with a reserve of `burst`: who is faster waits, and with him his connection."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = time.monotonic()

    async def take(self) -> None:
        """Take one; sleeps while there is none."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        self._left -= 1
        if self._left < 0:
            await asyncio.sleep(-self._left / self._rate)


class Failures:
    """Counts failures within a window; `too_many` says when nobody is listened to any more for a while."""

    def __init__(self, most: int, window_s: float) -> None:
        self._most = most
        self._window_s = window_s
        self._times: deque[float] = deque(maxlen=most)

    def note(self) -> None:
        """Count one."""
        self._times.append(time.monotonic())

    @property
    def too_many(self) -> bool:
        return len(self._times) == self._most and time.monotonic() - self._times[0] < self._window_s
