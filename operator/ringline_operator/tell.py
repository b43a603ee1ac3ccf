"""Kubernetes Events, written behind: no session waits for one, and a burst of news does not hold up the work.

What went wrong is told first. What merely went well waits until there is nothing else to do, and when too much has
gathered, the oldest of it is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from ringline_operator.actions import EmitEvent
from ringline_operator.kube import ApiError, Kube
from ringline_operator.specs.events import event

log = logging.getLogger(__name__)

MOST: Final = 1000
"""Events of one kind, warnings or others, that may wait."""
PATIENCE_S: Final = 10.0
"""An Event waits for a quiet moment at most this long."""
LAST_WORDS_S: Final = 2.0
"""Time for what is left when the operator ends."""


class Teller:
    """Writes one Event after another. `busy` says whether there is work that should go first."""

    def __init__(self, kube: Kube, busy: Callable[[], bool] = lambda: False) -> None:
        self._kube = kube
        self._busy = busy
        self._warnings: deque[tuple[float, dict[str, Any]]] = deque()
        self._news: deque[tuple[float, dict[str, Any]]] = deque()
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        """Events that nobody will read: there were too many, or the API server did not take them."""

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._keep(), name="ringline-events")

    async def stop(self) -> None:
        """Say the last words, if the API server listens, and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self.flush()
        except TimeoutError:
            log.warning("events were not written", extra={"count": len(self._warnings) + len(self._news)})

    def tell(self, namespace: str, what: EmitEvent) -> None:
        """Have an Event written soon, or not at all."""
        place = self._warnings if what.type == "Warning" else self._news
        if len(place) >= MOST:
            place.popleft()
            self.dropped += 1
        place.append((time.monotonic(), event(namespace, what, time.time())))
        self._some.set()

    async def flush(self) -> None:
        """Write all that waits."""
        while (body := self._next()) is not None:
            await self._write(body)

    async def _keep(self) -> None:
        while True:
            await self._some.wait()
            while not self._warnings and self._news and self._busy():
                if time.monotonic() - self._news[0][0] > PATIENCE_S:
                    break
                await asyncio.sleep(0.1)
            body = self._next()
            if body is None:
                self._some.clear()
            else:
                await self._write(body)

    def _next(self) -> dict[str, Any] | None:
        place = self._warnings or self._news
        return place.popleft()[1] if place else None

    async def _write(self, body: Mapping[str, Any]) -> None:
        meta = body["metadata"]
        try:
            try:
                await self._kube.create("Event", meta["namespace"], body)
            except ApiError as error:
                if error.status != 409:
                    raise
                change = {"lastTimestamp": body["lastTimestamp"]}
                await self._kube.patch("Event", meta["namespace"], meta["name"], change)
        except ApiError as error:
            self.dropped += 1
            log.debug("an event could not be written", extra={"event": meta["name"], "error": str(error)})
        except Exception:
            # Whatever it was (credentials that can't be read, say), the next one is to be written.
            self.dropped += 1
            log.exception("an event could not be written", extra={"event": meta["name"]})
