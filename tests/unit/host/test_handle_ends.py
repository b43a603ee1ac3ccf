"""The end of a handle's process, step by step, and its health checks at the edges."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

import pytest

from ringline.control.messages import Message, MessageType
from ringline.host import handle as handles
from ringline.host.handle import NodeHandle
from tests.unit.host.fakes import FakeLine, FakeProcess, handle_of

LONG_S = 60.0


def answering(handle: NodeHandle, kind: MessageType, then: Callable[[], None] = lambda: None) -> None:
    """Let the process answer each shutdown with `kind`, and then do something."""

    def answer(message: Message) -> None:
        handle.deliver(message.reply(kind))
        then()

    line = handle._line
    assert isinstance(line, FakeLine)
    line.reactions[MessageType.SHUTDOWN] = answer


def checks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("spawn_health_check")]


# -- shutdown ----------------------------------------------------------------------------------------------------------


def test_the_patience_of_an_orderly_end_is_the_documented_one() -> None:
    assert (handles.EXIT_AFTER_ACK_S, handles.TERM_PATIENCE_S) == (2.0, 3.0)


async def test_no_check_is_made_once_the_end_is_asked_for() -> None:
    process = FakeProcess()
    handle = handle_of(process, FakeLine())
    await handle.start_health_check(LONG_S)
    seen: list[list[str]] = []

    def end() -> None:
        seen.append(checks())
        process.finish(0)

    answering(handle, MessageType.SHUTDOWN_ACK, end)
    assert await handle.shutdown(LONG_S) is True
    assert seen == [[]]


async def test_one_that_agrees_and_stays_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "EXIT_AFTER_ACK_S", 0.01)
    process = FakeProcess()
    handle = handle_of(process, FakeLine())
    answering(handle, MessageType.SHUTDOWN_ACK)
    assert await handle.shutdown(LONG_S) is False
    assert (handle.exit_reason, process.signals) == ("forced", [signal.SIGTERM])


async def test_the_end_of_its_work_is_no_agreement_to_end() -> None:
    process = FakeProcess()
    handle = handle_of(process, FakeLine())
    answering(handle, MessageType.DONE)
    assert await handle.shutdown(LONG_S) is False
    assert (handle.exit_reason, process.signals) == ("forced", [signal.SIGTERM])


async def test_one_that_ends_before_it_agrees_needs_no_force() -> None:
    process, line = FakeProcess(), FakeLine()
    handle = handle_of(process, line)

    def end(_: Message) -> None:
        process.finish(0)
        handle.ended()

    line.reactions[MessageType.SHUTDOWN] = end
    assert await handle.shutdown(LONG_S) is True
    assert process.signals == []


async def test_one_that_can_not_be_told_is_forced(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeLine):
        async def send(self, message: Message) -> None:
            raise ConnectionError("the line is cut")

    process = FakeProcess()
    handle = handle_of(process, Broken())
    with caplog.at_level(logging.WARNING):
        assert await handle.shutdown(LONG_S) is False
    assert process.signals == [signal.SIGTERM]
    assert "shutdown of process p1 failed: the line is cut" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_one_that_is_gone_before_the_signal_is_no_error(number: int) -> None:
    class Gone(FakeProcess):
        def send_signal(self, number: int) -> None:
            super().send_signal(number)
            self.finish(1)
            raise ProcessLookupError

    process = Gone(dies_of=[])
    handle = handle_of(process, FakeLine())
    if number == signal.SIGKILL:
        await handle.force_kill()
    else:
        assert await handle.shutdown(0.01) is False
    assert (process.signals, handle.exit_reason, handle.exit_code) == ([number], "forced", 1)


async def test_a_log_line_of_a_shutdown_that_took_too_long_has_its_labels(caplog: pytest.LogCaptureFixture) -> None:
    handle = handle_of(FakeProcess(), FakeLine(), labels={"node": "tts"})
    with caplog.at_level(logging.WARNING):
        await handle.shutdown(0.01)
    record = next(record for record in caplog.records if "timed out" in record.getMessage())
    assert (record.process_id, record.node, record.timeout) == ("p1", "tts", 0.01)  # type: ignore[attr-defined]


async def test_a_code_that_nobody_knows_is_minus_one() -> None:
    class Unknown(FakeProcess):
        async def wait(self) -> int:
            return 0

    assert await handle_of(Unknown(), FakeLine()).wait_for_completion() == -1


# -- health ------------------------------------------------------------------------------------------------------------


async def test_the_first_check_comes_after_the_first_interval() -> None:
    line = FakeLine()
    handle = handle_of(FakeProcess(), line)
    await handle.start_health_check(LONG_S)
    for _ in range(10):
        await asyncio.sleep(0)
    assert line.sent == []
    await handle.stop_health_check()


async def test_checks_that_were_stopped_say_why_and_can_begin_again() -> None:
    handle = handle_of(FakeProcess(), FakeLine())
    await handle.start_health_check(LONG_S)
    task = next(task for task in asyncio.all_tasks() if task.get_name() in checks())
    await asyncio.sleep(0)
    await handle.stop_health_check()
    with pytest.raises(asyncio.CancelledError, match="spawn_health_check_stopped"):
        await task
    await handle.start_health_check(LONG_S)
    assert checks() == ["spawn_health_check:p1"]
    await handle.stop_health_check()


async def test_an_end_in_the_middle_of_a_check_is_a_failure() -> None:
    process, line = FakeProcess(), FakeLine()
    handle = handle_of(process, line)

    def end(_: Message) -> None:
        process.finish(1)
        handle.ended()

    line.reactions[MessageType.HEALTH_CHECK] = end
    assert not await handle.health.check()
    assert sum(handle.health.failures_by_reason.values()) == 1
    assert not handle.is_healthy
