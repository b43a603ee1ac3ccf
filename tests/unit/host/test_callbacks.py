"""Callbacks of the application: sync, async, and never able to hurt the supervisor."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from ringline.host.callbacks import Callbacks
from ringline.host.threads import in_thread


async def test_sync_and_async_callbacks_are_called_with_the_arguments() -> None:
    seen: list[tuple[str, int]] = []

    async def later(value: int) -> None:
        await asyncio.sleep(0)
        seen.append(("async", value))

    callbacks = Callbacks("s")
    callbacks.call(lambda value: seen.append(("sync", value)), 1)
    callbacks.call(later, 2)
    await callbacks.settle(5.0)
    assert seen == [("sync", 1), ("async", 2)]


async def test_what_they_raise_is_logged_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    def bad() -> None:
        raise ValueError("sync trouble")

    async def worse() -> None:
        raise KeyError("async trouble")

    callbacks = Callbacks("s7")
    with caplog.at_level(logging.ERROR):
        callbacks.call(bad)
        callbacks.call(worse)
        await callbacks.settle(5.0)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError, KeyError]
    assert all("s7" in record.getMessage() for record in caplog.records)


async def test_a_callback_that_never_returns_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    callbacks = Callbacks("s")
    callbacks.call(forever)
    await asyncio.sleep(0)
    await callbacks.settle(0.01)
    assert cancelled.is_set()


async def test_a_callback_may_wait_for_the_one_who_settles() -> None:
    callbacks = Callbacks("s")
    settled = asyncio.Event()
    waiting: set[asyncio.Task[None]] = set()

    async def waits() -> None:
        task = asyncio.current_task()
        assert task is not None
        waiting.add(task)
        await settled.wait()

    callbacks.call(waits)
    await asyncio.sleep(0)
    await callbacks.settle(60.0, waiting)
    settled.set()
    await callbacks.settle(5.0)


async def test_work_in_a_thread_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    assert await in_thread(lambda a, b: a + b, 2, 3) == 5
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)
    assert set(threading.enumerate()) == before


async def test_a_cancellation_waits_for_the_work() -> None:
    begun, finish, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        finish.wait(30)
        done.set()

    task = asyncio.create_task(in_thread(work))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    finish.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()
