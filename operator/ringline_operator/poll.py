"""Asks the gateways of sessions that are not ready for progress and exits: what a pod's own status can't say.

At most one request a second and session, none for a session that is ready.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import aiohttp

from ringline_operator.observe import Cache, Group, Key, WorkQueue
from ringline_operator.views import PodView

log = logging.getLogger(__name__)

STATUS_PORT: Final = 9090
TIMEOUT: Final = aiohttp.ClientTimeout(total=2)
LARGEST_ANSWER: Final = 256 << 10


class Poller:
    """Holds one request per pod under way; its answers go into the cache."""

    def __init__(self, cache: Cache, queue: WorkQueue, period_s: float = 1.0) -> None:
        self._cache = cache
        self._queue = queue
        self._period_s = period_s
        self._asked: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """End all requests."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def watch(self, key: Key, group: Group) -> bool:
        """Ask each pod that is starting or in trouble; return whether there is one."""
        wanted = [pod for pod in group.pods.values() if pod.ip and not (pod.ready or pod.over or pod.deleting)]
        now = time.monotonic()
        for pod in wanted:
            if pod.uid in self._asking or now - self._asked.get(pod.uid, -self._period_s) < self._period_s * 0.9:
                continue
            self._asked[pod.uid] = now
            task = asyncio.create_task(self._ask(key, pod), name=f"ringline-poll-{pod.name}")
            self._asking[pod.uid] = task
            task.add_done_callback(partial(self._forget, pod.uid))
        if len(self._asked) > 2 * len(self._asking) + 64:
            self._asked = {uid: moment for uid, moment in self._asked.items() if now - moment < self._period_s}
        return bool(wanted)

    def _forget(self, uid: str, _: asyncio.Task[None]) -> None:
        self._asking.pop(uid, None)

    async def _ask(self, key: Key, pod: PodView) -> None:
        report = await self._fetch(f"http://{pod.ip}:{STATUS_PORT}/status")
        if report is not None:
            self._cache.note_report(key, pod, report)

    async def _fetch(self, url: str) -> Mapping[str, Any] | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT)
        try:
            async with self._session.get(url) as answer:
                if answer.status != 200 or (answer.content_length or 0) > LARGEST_ANSWER:
                    return None
                report = await answer.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None
        return report if isinstance(report, dict) else None
