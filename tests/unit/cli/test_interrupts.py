"""The first signal asks, the second cancels."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from ringline.cli.interrupts import Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_only_asks(number: signal.Signals) -> None:
    told: list[str] = []
    with Interrupts(lambda: told.append("asked")) as interrupts:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(interrupts.asked.wait(), 10)
        assert not interrupts.at_once
    assert told == ["asked"]


async def test_the_second_signal_cancels_the_task_that_entered() -> None:
    reached = asyncio.Event()

    async def work() -> str:
        with Interrupts(lambda: None) as interrupts:
            interrupts.hit()
            interrupts.hit()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                assert interrupts.at_once
                reached.set()
                raise
        return "not cancelled"

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reached.is_set()


async def test_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts(lambda: None):
        pass
    assert signal.getsignal(signal.SIGTERM) == before
