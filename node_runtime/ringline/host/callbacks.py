"""Calling what the application gave us: sync or async, and never letting its errors into the supervisor.

Used for progress, crash and health callbacks.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Collection
from typing import Any

log = logging.getLogger("ringline.host")


class Callbacks:
    """Calls callbacks in order on the running loop; async ones run in tasks that `close` waits for."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self._tasks: set[asyncio.Task[None]] = set()

    def call(self, callback: Callable[..., Any], *args: Any) -> None:
        """Call now; an awaitable result is awaited in a task of its own. Errors are logged, never raised."""
        try:
            result = callback(*args)
        except Exception as error:
            self._complain(callback, error)
            return
        if inspect.isawaitable(result):
            task = asyncio.get_running_loop().create_task(self._finish(callback, result), name="ringline-callback")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settle(self, timeout_s: float, ignore: Collection[asyncio.Task[Any]] = ()) -> None:
        """Wait for async callbacks that are still running, then cancel what is left.

        `ignore`: tasks that wait for the caller, such as a crash callback that awaits `cleanup`.
        """
        mine = {task for task in self._tasks if task not in ignore and task is not asyncio.current_task()}
        if not mine:
            return
        _, late = await asyncio.wait(mine, timeout=timeout_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _finish(self, callback: Callable[..., Any], result: Any) -> None:
        try:
            await result
        except Exception as error:
            self._complain(callback, error)

    def _complain(self, callback: Callable[..., Any], error: Exception) -> None:
        name = getattr(callback, "__qualname__", repr(callback))
        extra = {"session": self.session_id, "node": "", "channel": "", "epoch": 0}
        log.error("callback %s of session %s raised", name, self.session_id, exc_info=error, extra=extra)
