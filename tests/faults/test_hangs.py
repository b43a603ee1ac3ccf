"""Nodes that live but do not work, do not stop, or use too much."""

from __future__ import annotations

import asyncio
import re

import pytest

from ringline import Pipeline, ProcessCrashed
from tests.faults.scenes import (
    WATCHFUL,
    gone,
    idle,
    make,
    nothing_left,
    of,
    pids_of,
    printed,
    started,
    until,
    zygote_of,
)
from tests.helpers.freeze import freeze, frozen


async def test_a_stopped_node_is_unhealthy_and_killed() -> None:
    session = await started(make("does_as_told", "does_as_told", **WATCHFUL))
    await session.send("a", "x")
    await session.receive("b")
    pids = await pids_of(session)
    await idle(session, "b")
    freeze(pids["b"])
    with pytest.raises(ProcessCrashed) as caught:
        await session.receive("b")
    assert (caught.value.node_id, caught.value.reason) == ("b", "Unhealthy")
    await gone(*pids.values())
    await session.cleanup()
    nothing_left(session)


async def test_a_node_that_holds_the_gil_is_stalled_and_leaves_its_stack() -> None:
    session = await started(make("does_as_told", **WATCHFUL))
    await session.send("a", "x")
    await session.receive("a")
    await session.send("a", "hold")
    with pytest.raises(ProcessCrashed) as caught:
        await session.receive("a")
    assert caught.value.reason == "Stalled"
    await until(lambda: "misbehaving.py" in printed(session, "a"))
    assert "in process" in printed(session, "a")
    await session.cleanup()
    nothing_left(session)


async def test_a_blocked_event_loop_is_a_stall_that_the_node_reports_itself() -> None:
    session = await started(make("does_as_told", stall_timeout_secs=1.5))
    await session.send("a", "x")
    await session.receive("a")
    await session.send("a", "block")
    with pytest.raises(ProcessCrashed) as caught:
        await session.receive("a")
    assert caught.value.reason == "Stalled"
    assert "was busy for" in str(caught.value)
    assert "misbehaving.py" in printed(session, "a")
    await session.cleanup()
    nothing_left(session)


async def test_a_short_stop_is_survived() -> None:
    session = await started(make("does_as_told", health_check_interval=60.0))
    pid = (await pids_of(session))["a"]
    with frozen(pid):
        await session.send("a", "late")
        await asyncio.sleep(0.3)
    assert (await session.receive("a")).as_text().endswith(":late")
    await session.cleanup()
    nothing_left(session)


async def test_a_node_over_its_memory_limit_is_killed_with_that_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringline.host.health.MEMORY_PERIOD_S", 0.05)
    session = await started(of(Pipeline().add_node("eats_memory", "a", memory_limit_mb=96)))

    async def eat() -> None:
        for _ in range(200):
            await session.send("a", "more")
            await session.receive("a")
            await asyncio.sleep(0.02)

    with pytest.raises(ProcessCrashed) as caught:
        await eat()
    assert (caught.value.reason, caught.value.exit_code) == ("MemoryLimit", 137)
    await session.cleanup()
    nothing_left(session)


async def test_a_hundred_megabytes_on_stderr_block_nobody() -> None:
    session = await started(make("floods_stderr", configs={"a": {"megabytes": 100}}))
    await session.send("a", "x")
    assert (await session.receive("a")).as_text() == "x"
    await session.cleanup()
    lines = printed(session, "a").splitlines()
    came = sum(line == "x" * 1023 for line in lines)
    dropped = sum(int(found[1]) for line in lines if (found := re.match(r"\[(\d+) bytes of stderr dropped", line)))
    assert came * 1024 + dropped == 100 << 20
    assert "the flood is over" in lines
    nothing_left(session)


async def test_a_line_of_ten_megabytes_comes_in_pieces_and_whole_lines_follow() -> None:
    session = await started(make("prints_one_line"))
    await session.send("a", "x")
    await session.receive("a")
    await session.cleanup()
    lines = printed(session, "a").splitlines()
    assert "and done" in lines
    assert max(len(line) for line in lines) <= 66 * 1024
    nothing_left(session)


async def test_one_that_ignores_sigterm_is_killed_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringline.host.shutdown.TERM_PATIENCE_S", 0.3)
    session = await started(make("does_as_told", "ignores_sigterm", cleanup_grace_period_secs=0.3))
    pids = await pids_of(session)
    await session.send("a", "x")
    await until(lambda: "busy now" in printed(session, "b"))
    await session.cleanup()
    await gone(*pids.values())
    nothing_left(session)


async def test_a_cleanup_that_hangs_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringline.host.shutdown.TERM_PATIENCE_S", 0.2)
    session = await started(make("slow_cleanup", cleanup_grace_period_secs=0.3))
    await session.cleanup()
    assert "cleaning for ever" in printed(session, "a")
    nothing_left(session)


async def test_a_zygote_that_was_stopped_costs_a_cleanup_no_more_than_its_grace() -> None:
    session = await started(make("does_as_told", "does_as_told", cleanup_grace_period_secs=0.5))
    pids = await pids_of(session)
    zygote = zygote_of(session)
    freeze(zygote)
    await session.cleanup()
    await gone(zygote, *pids.values())
    exits = [node.last_exit for node in (await session.get_status()).nodes.values()]
    assert [each.reason for each in exits if each] == ["Shutdown"] * 2  # the zygote told of them: it was not killed
    nothing_left(session)


async def test_a_source_without_end_stops_when_told() -> None:
    session = await started(make("endless", "does_as_told"))
    await session.receive("b")
    await session.cleanup()
    assert (await session.get_status()).state == "closed"
    nothing_left(session)


async def test_a_second_cancel_ends_a_slow_cleanup_at_once() -> None:
    session = await started(make("slow_cleanup", cleanup_grace_period_secs=3600.0))
    pids = await pids_of(session)
    ending = asyncio.create_task(session.cleanup())
    await until(lambda: "cleaning for ever" in printed(session, "a"))
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    await gone(*pids.values())
    nothing_left(session)
