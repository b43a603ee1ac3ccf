"""The end of a handle's process, step by step, and its health checks at the edges."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import uuid
from collections.abc import Callable

import pytest

from ringline.agents import running_tasks
from ringline.control.messages import Message, MessageType
from ringline.host import handle as handles
from ringline.host import health
from ringline.host.handle import NodeHandle
from ringline.host.health import HealthCheck, HealthSettings
from ringline.host.shutdown import end_nodes
from ringline.node.logs import JsonFormatter
from tests.unit.host.fakes import FakeLine, FakeProcess, handle_of, member_of

LONG_S = 60.0


def answering(handle: NodeHandle, kind: MessageType, then: Callable[[], None] = lambda: None) -> None:
    """Let the process answer each shutdown with `kind`, and then do something."""

    def answer(message: Message) -> None:
        handle.deliver(message.reply(kind))
        then()

    line = handle._line
    assert isinstance(line, FakeLine)
    line.reactions[MessageType.SHUTDOWN] = answer


def ending(handle: NodeHandle, process: FakeProcess, line: FakeLine, kind: MessageType, code: int) -> None:
    """Have the process end, instead of answering, when it hears this word."""

    def end(_: Message) -> None:
        process.finish(code)
        handle.ended()

    line.reactions[kind] = end


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
    ending(handle, process, line, MessageType.SHUTDOWN, code=0)
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
        assert handle.exit_reason == "forced"
    else:
        assert await handle.shutdown(0.01) is True  # nothing had to be forced
        assert handle.exit_reason == "already_dead"
    assert (process.signals, handle.exit_code) == ([number], 1)


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
    ending(handle, process, line, MessageType.HEALTH_CHECK, code=1)
    assert not await handle.health.check()
    assert handle.health.failures_by_reason == {"error": 1}
    assert not handle.is_healthy


class Clock:
    """Time that passes only while somebody sleeps, or as the test wants."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def clocked(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(health, "time", clock)
    monkeypatch.setattr(health, "asyncio", clock)
    return clock


async def test_checks_begin_one_interval_apart_however_long_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clocked(monkeypatch)
    begun: list[float] = []

    async def ask(_: float) -> bool:
        begun.append(clock.now)
        clock.now += 1.5
        return True

    checked = HealthCheck("p1", ask, HealthSettings(), None, {})
    await checked.run(5.0, lambda: len(begun) < 3)
    assert begun == [1005.0, 1010.0, 1015.0]
    assert clock.slept == [5.0, 3.5, 3.5]


async def test_what_a_check_raises_is_a_failure_and_the_next_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    clocked(monkeypatch)
    asked: list[int] = []

    async def ask(_: float) -> bool:
        asked.append(1)
        if len(asked) == 1:
            raise ValueError("unexpected")
        return True

    checked = HealthCheck("p1", ask, HealthSettings(), None, {})
    seen: list[tuple[bool, int]] = []

    def goes_on() -> bool:
        seen.append((checked.healthy, checked.failures))
        return len(asked) < 2

    await checked.run(5.0, goes_on)
    assert (False, 1) in seen
    assert (checked.healthy, checked.failures, checked.failures_by_reason) == (True, 0, {"error": 1})


async def test_no_check_follows_the_wish_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clocked(monkeypatch)
    asked: list[int] = []

    async def ask(_: float) -> bool:
        asked.append(1)
        return True

    answers = iter((True, False))
    await HealthCheck("p1", ask, HealthSettings(), None, {}).run(5.0, lambda: next(answers))
    assert asked == []  # it was wished during the first interval


# -- what is told ------------------------------------------------------------------------------------------------------


def test_a_process_id_is_a_uuid_of_chance() -> None:
    ids = [NodeHandle(FakeProcess(), FakeLine()).process_id for _ in range(2)]
    assert [uuid.UUID(each).version for each in ids] == [4, 4]
    assert len(set(ids)) == 2


async def test_nodes_and_pods_are_asked_to_end_with_the_same_words() -> None:
    process, line = FakeProcess(), FakeLine()
    member = member_of("a", process, line)
    line.reactions[MessageType.SHUTDOWN] = lambda _: process.finish(0)
    await end_nodes([member], drain=False, grace_s=LONG_S, hurry=asyncio.Event())
    (message,) = [each for each in line.sent if each.type is MessageType.SHUTDOWN]
    assert message.payload == {"reason": "parent_initiated"}


async def test_each_step_of_a_life_is_logged_with_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    process, line = FakeProcess(), FakeLine()
    handle = handle_of(process, line)
    line.reactions[MessageType.HEALTH_CHECK] = lambda message: handle.deliver(
        message.reply(MessageType.HEALTH_CHECK_RESPONSE)
    )
    handle.health.settings = HealthSettings(timeout_s=LONG_S)
    await handle.start_health_check(LONG_S)
    assert await handle.health.check()
    answering(handle, MessageType.SHUTDOWN_ACK, lambda: process.finish(0))
    assert await handle.shutdown(LONG_S)
    told = {record.getMessage().replace("p1", "*"): record for record in caplog.records}
    ours = [record for record in caplog.records if record.name == "ringline.host"]
    assert {record.process_id for record in ours} == {"p1"}  # type: ignore[attr-defined]
    for text, field, value in [
        ("sent HEALTH_CHECK to process *", "type", "HEALTH_CHECK"),
        ("received HEALTH_CHECK_RESPONSE of process *", "type", "HEALTH_CHECK_RESPONSE"),
        ("started health check of process *", "interval", LONG_S),
        ("stopped health check of process *", "pid", 4711),
        ("sent SHUTDOWN to process *", "type", "SHUTDOWN"),
        ("process * agrees to end", "type", "SHUTDOWN_ACK"),
        ("process * has ended in order", "exit_code", 0),
    ]:
        assert getattr(told[text], field) == value
    assert {record.levelno for record in ours} == {logging.DEBUG}


async def test_what_goes_wrong_is_logged_at_its_level(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "TERM_PATIENCE_S", 0.01)
    caplog.set_level(logging.INFO)
    handle = handle_of(FakeProcess(dies_of=[signal.SIGKILL]), FakeLine())
    assert not await handle.health.check()
    assert not await handle.shutdown(0.01)
    fields = [
        (record.levelname, getattr(record, "timeout", None), getattr(record, "exit_code", None))
        for record in caplog.records
    ]
    assert fields == [
        ("WARNING", 0.05, None),  # the health check
        ("WARNING", 0.01, None),  # the shutdown
        ("WARNING", 0.01, None),  # the time after SIGTERM
        ("INFO", None, 137),  # killed
    ]


def test_the_fields_become_keys_of_a_line_of_json() -> None:
    record = logging.makeLogRecord({"msg": "sent", "process_id": "p1", "pid": 7, "type": "INPUT", "timeout": 3.0})
    found = json.loads(JsonFormatter({"session": "s"}).format(record))
    assert (found["process_id"], found["pid"], found["type"], found["timeout"]) == ("p1", 7, "INPUT", 3.0)


async def test_the_tasks_that_run_are_listed_by_group_with_the_place_where_they_wait() -> None:
    handle = handle_of(FakeProcess(), FakeLine())
    before = [task.name for task in running_tasks("runner.spawn")]
    assert "spawn_health_check:p1" not in before
    await handle.start_health_check(LONG_S)
    await asyncio.sleep(0)
    (found,) = [task for task in running_tasks("runner.spawn") if task.name == "spawn_health_check:p1"]
    assert found.group == "runner.spawn"
    assert "health.py:" in found.where
    assert running_tasks("another") == []
    assert found in running_tasks()
    await handle.stop_health_check()
    assert "spawn_health_check:p1" not in [task.name for task in running_tasks()]
