"""Periodic checks: whether a node's control thread answers, and whether it stays inside its memory limit.

The handle owns a `HealthCheck`; the supervisor runs one `watch_memory` for all nodes that have a limit.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ringline.host import procfs

log = logging.getLogger("ringline.host")

MEMORY_PERIOD_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """`interval_s` from the start of a check to the start of the next, `timeout_s` for its answer."""

    interval_s: float = 5.0
    timeout_s: float = 3.0
    max_failures: int = 2


class HealthCheck:
    """Asks, counts failures in a row, and calls `on_unhealthy` once when they reach the limit.

    `ask` sends one check and returns whether the right answer came within the time-out; whatever it raises counts
    as a failure. A check that passes re-arms the callback.
    """

    def __init__(
        self,
        name: str,
        ask: Callable[[float], Awaitable[bool]],
        settings: HealthSettings,
        on_unhealthy: Callable[[], Any] | None,
        extra: Mapping[str, object],
    ) -> None:
        self.name = name
        self.settings = settings
        self.on_unhealthy = on_unhealthy
        self.healthy = True
        self.failures = 0
        self.failures_by_reason: dict[str, int] = {}
        self._ask = ask
        self._extra = dict(extra)
        self._fired = False

    async def run(self, interval_s: float, goes_on: Callable[[], bool]) -> None:
        """Sleep first, then check, while `goes_on()`."""
        begin = time.monotonic()
        while goes_on():
            await asyncio.sleep(max(0.0, begin + interval_s - time.monotonic()))
            if not goes_on():
                return
            begin = time.monotonic()
            await self.check()

    async def check(self) -> bool:
        """One check; returns whether it passed."""
        try:
            answered = await self._ask(self.settings.timeout_s)
        except TimeoutError:
            await self._failed("timeout")
            return False
        except Exception as error:
            log.warning("health check of %s failed: %s", self.name, error, extra=self._extra)
            await self._failed("error")
            return False
        if not answered:
            await self._failed("wrong_answer")
            return False
        self.healthy, self.failures, self._fired = True, 0, False
        log.debug("health check of %s passed", self.name, extra=self._extra)
        return True

    async def _failed(self, reason: str) -> None:
        self.healthy = False
        self.failures += 1
        self.failures_by_reason[reason] = self.failures_by_reason.get(reason, 0) + 1
        labels = {**self._extra, "reason": reason, "timeout": self.settings.timeout_s}
        log.warning("health check of %s: %s (%d in a row)", self.name, reason, self.failures, extra=labels)
        if self.failures < self.settings.max_failures or self._fired or self.on_unhealthy is None:
            return
        self._fired = True
        try:
            result = self.on_unhealthy()
            if inspect.isawaitable(result):
                await result
        except Exception:
            log.exception("on_unhealthy of %s raised", self.name, extra=self._extra)


async def watch_memory(
    limits: Callable[[], Mapping[str, tuple[int, int]]], exceeded: Callable[[str, int, int], None]
) -> None:
    """Each second compare anonymous memory with its limit, for ever; `exceeded(node, used, limit)` acts.

    `limits()` gives node → (pid, limit in bytes) of the processes that live now. What a node's own children use counts too.
    """
    while True:
        await asyncio.sleep(MEMORY_PERIOD_S)
        for node, (pid, limit) in limits().items():
            used = sum(procfs.anonymous(member) for member in procfs.family(pid))
            if used > limit:
                exceeded(node, used, limit)
