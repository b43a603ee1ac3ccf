"""Nodes that end while they run: everybody is told promptly, and all others end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal

import pytest

from ringline import ProcessCrashed, SessionError
from ringline.host.exits import ExitRecord
from tests.faults.scenes import exists, gone, make, nothing_left, pids_of, printed, started, until, zygote_of

ENDS = {
    "raise": (1, "Error", "ValueError: told to raise"),
    "exit": (3, "Error", "exited with code 3"),
    "leave": (0, "ExitedEarly", "exited with code 0"),
    "kill": (137, "Killed", "exited with code 137"),
    "segfault": (139, "SegmentationFault", "exited with code 139"),
}


@pytest.mark.parametrize("order", ENDS)
async def test_a_crash_makes_everything_pending_raise(order: str, caplog: pytest.LogCaptureFixture) -> None:
    code, reason, text = ENDS[order]
    session = await started(make("does_as_told", "does_as_told"))
    pids = await pids_of(session)
    await session.send("a", "hello")
    assert (await session.receive("b")).as_text().startswith("b:")
    pending = asyncio.create_task(session.receive("b"))
    with caplog.at_level(logging.INFO, "ringline.exits"):
        await session.send("a", order)
        with pytest.raises(ProcessCrashed) as caught:
            await pending
        with pytest.raises(ProcessCrashed):
            await session.wait()
    error = caught.value
    assert (error.node_id, error.exit_code, error.reason) == ("a", code, reason)
    assert text in str(error)
    with pytest.raises(ProcessCrashed):
        await session.send("a", "again")
    assert not any(exists(pid) for pid in pids.values())
    status = await session.get_status()
    assert (status.state, status.nodes["a"].state, status.nodes["b"].state) == ("failed", "failed", "stopped")
    lines = [r.getMessage().removeprefix("node exited ") for r in caplog.records if r.name == "ringline.exits"]
    records = [json.loads(line) for line in lines]
    assert {(r["node_id"], r["reason"]) for r in records if r["session_id"] == session.session_id} == {
        ("a", reason),
        ("b", "Shutdown"),
    }
    await session.cleanup()
    nothing_left(session)


async def test_crash_callbacks_sync_and_async_are_called_and_may_fail() -> None:
    seen: list[tuple[str, ExitRecord]] = []
    session = make("does_as_told")

    @session.on_process_crash
    def first(event: ExitRecord) -> None:
        seen.append(("sync", event))
        raise RuntimeError("the callback's own trouble")

    @session.on_process_crash
    async def second(event: ExitRecord) -> None:
        seen.append(("async", event))
        await session.cleanup()  # a callback may end the session itself

    await started(session)
    await session.send("a", "kill")
    with pytest.raises(ProcessCrashed):
        await session.receive("a")
    await until(lambda: len(seen) == 2)
    assert [kind for kind, _ in seen] == ["sync", "async"]
    event = seen[0][1]
    assert (event.node_id, event.exit_code, event.signal, event.epoch) == ("a", 137, "SIGKILL", 1)
    await session.cleanup()
    nothing_left(session)


@pytest.mark.parametrize("victim", ["a", "b", "c"])
async def test_any_node_may_be_killed_from_outside(victim: str) -> None:
    session = await started(make("does_as_told", "does_as_told", "does_as_told"))
    pids = await pids_of(session)
    await session.send("a", "x")
    await session.receive("c")
    os.kill(pids[victim], signal.SIGKILL)
    with pytest.raises(ProcessCrashed, match=f"Node '{victim}' exited with code 137"):
        await session.receive("c")
    await gone(*pids.values())
    await session.cleanup()
    nothing_left(session)


@pytest.mark.parametrize("victim", ["a", "b"])
async def test_a_node_killed_during_cleanup_does_not_disturb_it(victim: str) -> None:
    session = await started(make("slow_cleanup", "slow_cleanup", cleanup_grace_period_secs=0.5))
    pids = await pids_of(session)
    ending = asyncio.create_task(session.cleanup())
    await until(lambda: "cleaning for ever" in printed(session, victim))
    with contextlib.suppress(ProcessLookupError):  # its time may be up already
        os.kill(pids[victim], signal.SIGKILL)
    await ending
    await gone(*pids.values())
    nothing_left(session)


async def test_a_killed_zygote_takes_its_nodes_along_and_ends_the_session() -> None:
    session = await started(make("does_as_told", "does_as_told"))
    pids = await pids_of(session)
    zygote = zygote_of(session)
    receiving = asyncio.create_task(session.receive("b"))
    os.kill(zygote, signal.SIGKILL)
    with pytest.raises(SessionError, match="zygote is gone"):
        await receiving
    await gone(*pids.values())
    await session.cleanup()
    nothing_left(session)


async def test_a_node_that_forked_workers_and_dies_leaves_none() -> None:
    session = await started(make("forks_children"))
    await session.send("a", "who")
    children = (await session.receive("a")).payload
    assert len(children) == 4
    assert all(exists(pid) for pid in children)
    await session.send("a", "die")
    with pytest.raises(ProcessCrashed, match="code 137"):
        await session.receive("a")
    await gone(*children)
    await session.cleanup()
    nothing_left(session)


async def test_an_ordered_end_ends_the_children_too() -> None:
    session = await started(make("forks_children"))
    await session.send("a", "who")
    children = (await session.receive("a")).payload
    await session.cleanup()
    await gone(*children)
    nothing_left(session)
