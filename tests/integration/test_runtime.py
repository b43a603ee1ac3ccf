"""`Runtime`: executors by name, sessions made and ended together, retries at the level of sessions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringline import (
    ManifestError,
    MultiprocessConfig,
    MultiprocessExecutor,
    Pipeline,
    ProcessCrashed,
    Runtime,
    Session,
    SessionClosedError,
    SessionError,
    run_with_retry,
)
from ringline.host.exits import ExitRecord
from ringline.runtime import InlineExecutor
from tests.faults.scenes import short
from tests.integration.sessions import Lines, chain, config, session_id


async def test_the_documented_names_make_a_running_session() -> None:
    executor = MultiprocessExecutor(config())
    runtime = await Runtime.builder().register_executor("python", executor).build()
    await runtime.start()
    pipeline = (
        Pipeline.builder()
        .add_node("t_upper", "asr", {})
        .with_executor("python")
        .add_node("t_echo", "s2s", {})
        .with_executor("python")
        .connect("asr", "text_out", "s2s", "text_in")
        .build()
    )
    session = await runtime.create_session(session_id(), pipeline)
    await session.send_input("asr", "hello")
    output = await session.receive_output("s2s")
    assert output.as_text() == "HELLO"
    assert output.size() == 5
    status = await session.get_status()
    assert {node.state for node in status.nodes.values()} == {"running"}
    assert (await session.get_metrics()).process_count == 2
    stats = await session.get_channel_stats("asr_to_s2s")
    assert (stats.message_count, stats.current_occupancy, stats.capacity) == (1, 0, 16)
    assert runtime.sessions == {session.session_id: session}
    await runtime.shutdown()
    await runtime.shutdown()
    with pytest.raises(SessionClosedError):
        await session.receive_output("s2s")
    with pytest.raises(SessionClosedError):
        await runtime.start()


async def test_a_crash_in_any_session_reaches_the_runtimes_callback() -> None:
    events: list[ExitRecord] = []
    async with Runtime(short()) as runtime:
        first = await runtime.create_session(session_id(), chain("does_as_told"))
        runtime.on_process_crash(events.append)
        second = await runtime.create_session(session_id(), chain("does_as_told"))
        for session in (first, second):
            await session.send("a", "exit")
            with pytest.raises(ProcessCrashed, match="Node 'a' exited with code 3"):
                await session.receive("a")
    assert [(event.session_id, event.node_id, event.exit_code) for event in events] == [
        (first.session_id, "a", 3),
        (second.session_id, "a", 3),
    ]


async def test_an_executor_is_chosen_by_its_name() -> None:
    async with Runtime(config()) as runtime:
        session = await runtime.create_session(session_id(), Pipeline().add_node("t_echo", "a").with_executor("inline"))
        assert session.executor == "inline"
        await session.send("a", "x")
        assert (await session.receive("a")).as_text() == "x"
    only = Runtime.builder().register_executor("inline", InlineExecutor()).build()
    await only.start()
    with pytest.raises(SessionError, match="no executor 'process' is registered"):
        await only.create_session(session_id(), chain("t_echo"))
    with pytest.raises(ManifestError):
        Pipeline().add_node("t_echo", "a").with_executor("cloud")


async def test_misuse_is_told() -> None:
    runtime = Runtime(config())
    with pytest.raises(SessionError, match="not started"):
        await runtime.create_session(session_id(), chain("t_echo"))
    builder = Runtime.builder().register_executor("python", MultiprocessExecutor())
    with pytest.raises(SessionError, match="registered already"):
        builder.register_executor("python", MultiprocessExecutor(MultiprocessConfig()))


def crashing(attempts: list[str]) -> Session:
    attempts.append(session_id())
    return Session(attempts[-1], chain("does_as_told"), config=short(), log_callback=Lines())


async def test_a_crashed_session_is_tried_again_as_a_whole() -> None:
    attempts: list[str] = []

    async def work(session: Session) -> str:
        await session.send("a", "exit" if len(attempts) < 3 else "fine")
        return (await session.receive("a")).as_text()

    result = await run_with_retry(lambda: crashing(attempts), work, attempts=3, backoff=0.0)
    assert result.endswith(":fine")
    assert len(attempts) == 3


async def test_the_last_attempts_error_is_raised_and_others_at_once() -> None:
    attempts: list[str] = []

    async def crash(session: Session) -> None:
        await session.send("a", "exit")
        await session.receive("a")

    async def wrong(session: Session) -> None:
        raise ValueError("not the session's fault")

    with pytest.raises(ProcessCrashed):
        await run_with_retry(lambda: crashing(attempts), crash, attempts=2, backoff=0.0)
    assert len(attempts) == 2
    with pytest.raises(ValueError, match="not the session's fault"):
        await run_with_retry(lambda: crashing(attempts), wrong, attempts=5)
    assert len(attempts) == 3
    with pytest.raises(ValueError, match="at least 1"):
        await run_with_retry(lambda: crashing(attempts), wrong, attempts=0)


async def test_waits_between_attempts_double_up_to_a_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float, *rest: Any) -> None:
        waits.append(seconds)
        await sleep(0)

    class Failing:
        async def __aenter__(self) -> None:
            raise ProcessCrashed("a", 1)

        async def __aexit__(self, *_: object) -> None: ...

    async def work(_: Session) -> None: ...

    monkeypatch.setattr("ringline.runtime.asyncio.sleep", note)
    with pytest.raises(ProcessCrashed):
        await run_with_retry(Failing, work, attempts=5, backoff=1.0, max_backoff=4.0)  # type: ignore[arg-type]
    assert [round(wait) for wait in waits] == [1, 2, 4, 4]
    assert all(base <= wait <= base * 1.1 for base, wait in zip([1, 2, 4, 4], waits, strict=True))
