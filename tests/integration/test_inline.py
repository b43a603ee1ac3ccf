"""What is particular to a session in this process: errors keep their cause, policies hold, nothing is left."""

from __future__ import annotations

import asyncio
import os

import pytest

from ringline import InitTimeout, Pipeline, ProcessCrashed, RuntimeData, Session
from ringline.host.exits import ExitRecord
from tests.faults.scenes import short
from tests.integration.sessions import chain, config, running, session_id


def inline(pipeline: Pipeline, **changes: object) -> Session:
    return Session(session_id(), pipeline, config=short(**changes), executor="inline")


async def test_an_exception_in_a_node_is_a_crash_with_its_cause() -> None:
    events: list[ExitRecord] = []
    session = inline(chain("does_as_told", "does_as_told"))
    session.on_process_crash(events.append)
    async with session:
        receiving = asyncio.create_task(session.receive("b"))
        await session.send("a", "raise")
        with pytest.raises(ProcessCrashed, match=r"Node 'a' exited with code 1: ValueError: told to raise") as caught:
            await receiving
        assert isinstance(caught.value.__cause__, ValueError)
        with pytest.raises(ProcessCrashed):
            await session.send("a", "more")
        with pytest.raises(ProcessCrashed):
            await session.wait()
        assert (await session.get_status()).state == "failed"
    [event] = events
    assert (event.node_id, event.pid, event.reason) == ("a", os.getpid(), "Error")


async def test_an_exception_in_initialize_is_that_exception() -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.bin"):
        await inline(chain("raises_in_initialize")).initialize()


async def test_a_start_that_takes_too_long_is_timed_out() -> None:
    with pytest.raises(InitTimeout, match=r"Node 'a' failed to initialize within 0\.05s"):
        await inline(chain("never_ready"), init_timeout_secs=0.05).initialize()


@pytest.mark.parametrize(
    ("overflow", "kept", "reason"),
    [
        ("drop_oldest", ["3", "4"], "overwritten"),
        ("drop_newest", ["0", "1"], "newest"),
        ("latest", ["4"], "overwritten"),
        ("deadline", ["3", "4"], "overwritten"),
    ],
)
@pytest.mark.parametrize("executor", ["inline", "process"])
async def test_dropping_policies_keep_and_count_the_same(
    executor: str, overflow: str, kept: list[str], reason: str
) -> None:
    options = {"deadline_ms": 60_000} if overflow == "deadline" else {}
    capacity = None if overflow == "latest" else 2
    pipeline = Pipeline().add_node("t_echo", "a")
    pipeline.input("in", to="a.input", overflow=overflow, capacity=capacity, **options)
    session = Session(session_id(), pipeline, config=config(), executor=executor)
    await session.initialize()
    sent = [await session.send("in", str(number)) for number in range(5)]
    assert sent.count(False) == (3 if overflow == "drop_newest" else 0)
    stats = await session.get_channel_stats(session.plan.input_channel("in").name)
    assert stats.dropped[reason] == 5 - len(kept)
    await session.start()
    await session.end()
    assert [data.as_text() async for data in session.stream("a")] == kept
    await session.cleanup()


@pytest.mark.parametrize("executor", ["inline", "process"])
async def test_a_message_past_its_deadline_is_never_delivered(executor: str) -> None:
    pipeline = Pipeline().add_node("t_echo", "a")
    pipeline.input("in", to="a.input", overflow="deadline", capacity=8, deadline_ms=100)
    session = Session(session_id(), pipeline, config=config(), executor=executor)
    await session.initialize()
    await session.send("in", "stale")
    await asyncio.sleep(0.15)
    await session.start()
    receiving = asyncio.create_task(session.receive("a"))
    tries = 0
    while not receiving.done():  # again, if the node was not given the processor for 100 ms
        tries += 1
        await session.send("in", "fresh")
        await asyncio.wait([receiving], timeout=0.2)
    assert (await receiving).as_text() == "fresh"
    stats = await session.get_channel_stats(session.plan.input_channel("in").name)
    assert 1 <= stats.dropped["deadline"] <= tries
    await session.cleanup()


async def test_a_message_is_its_own_copy() -> None:
    async with running(chain("t_echo"), "inline") as session:
        sent = bytearray(b"before")
        await session.send("a", RuntimeData.binary(sent))
        sent[:] = b"after!"
        assert bytes((await session.receive("a")).payload) == b"before"


async def test_no_task_and_no_process_is_left() -> None:
    before = asyncio.all_tasks()
    async with running(chain("t_echo", "t_total"), "inline") as session:
        assert session._directory is None
        assert (await session.get_metrics()).process_count == 1
    assert asyncio.all_tasks() == before
