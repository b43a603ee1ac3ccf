"""Blocking work off the event loop in a thread that ends with it: after a session's end no pool thread is left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")


async def in_thread(work: Callable[..., _T], *args: Any) -> _T:
    """Run `work(*args)` in a thread of its own. Not cancellable: a cancellation is raised once the work has ended."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_T] = loop.create_future()

    def run() -> None:
        try:
            result = work(*args)
        except BaseException as error:
            loop.call_soon_threadsafe(outcome.set_exception, error)
        else:
            loop.call_soon_threadsafe(outcome.set_result, result)

    thread = threading.Thread(target=run, name=f"ringline-{getattr(work, '__name__', 'work')}", daemon=True)
    thread.start()
    cancelled: asyncio.CancelledError | None = None
    while not outcome.done():
        try:
            await asyncio.shield(outcome)
        except asyncio.CancelledError as error:
            cancelled = error
        except BaseException:
            break
    thread.join()
    if cancelled is not None:
        outcome.exception()
        raise cancelled
    return outcome.result()
