"""The handle of one process: messages, answers, health, orderly and forced end."""

from __future__ import annotations

import asyncio
import logging
import signal

import pytest

from ringline.control.messages import Message, MessageType
from ringline.host.handle import NodeHandle, SpawnConfig
from ringline.host.health import HealthSettings
from tests.unit.host.fakes import FakeLine, FakeProcess, handle_of

PATIENT = HealthSettings(timeout_s=60.0)
"""For checks that are answered: this process may be kept from the processor for longer than the fakes' 50 ms."""


async def test_it_shows_the_state_of_its_process() -> None:
    process = FakeProcess()
    handle = handle_of(process, FakeLine())
    assert (handle.is_alive, handle.is_healthy, handle.pid, handle.exit_code) == (True, True, 4711, None)
    process.finish(3)
    assert (handle.is_alive, handle.is_healthy, handle.exit_code) == (False, False, 3)


async def test_the_documented_defaults() -> None:
    handle = NodeHandle(FakeProcess(), FakeLine())
    config = handle.config
    assert (config.health_check_interval, config.shutdown_timeout, config.health_check_timeout) == (5.0, 10.0, 3.0)
    assert handle.on_unhealthy is None
    assert handle.health.settings.max_failures == 2
    assert len(handle.process_id) == 36


async def test_sending_needs_a_line_and_a_living_process() -> None:
    process = FakeProcess()
    with pytest.raises(RuntimeError, match="Process p1 stdin is not available"):
        await handle_of(process, None).send_message(Message(MessageType.STOP))
    with pytest.raises(RuntimeError, match="Process p1 stdout is not available"):
        await handle_of(process, None).receive_message()
    process.finish(0)
    with pytest.raises(RuntimeError, match="Process p1 is not running"):
        await handle_of(process, FakeLine()).send_message(Message(MessageType.STOP))


async def test_an_answer_is_matched_by_its_id_and_nothing_else_is_lost() -> None:
    line = FakeLine()
    handle = handle_of(FakeProcess(), line)
    question = Message(MessageType.HEALTH_CHECK)
    asking = asyncio.create_task(handle.request(question, 5.0))
    await asyncio.sleep(0)
    other = Message(MessageType.OUTPUT, {"value": 1})
    stale = Message(MessageType.HEALTH_CHECK_RESPONSE)
    handle.deliver(other)
    handle.deliver(stale)
    assert not asking.done()
    handle.deliver(question.reply(MessageType.HEALTH_CHECK_RESPONSE, {"state": "running"}))
    assert (await asking).payload == {"state": "running"}
    assert await handle.receive_message() == other


async def test_receiving_ends_with_none_after_the_process() -> None:
    process = FakeProcess()
    handle = handle_of(process, FakeLine())
    waiting = asyncio.create_task(handle.receive_message())
    await asyncio.sleep(0)
    process.finish(0)
    handle.ended()
    assert await waiting is None
    assert await handle.receive_message() is None


async def test_a_request_fails_when_the_process_ends() -> None:
    handle = handle_of(FakeProcess(), FakeLine())
    asking = asyncio.create_task(handle.request(Message(MessageType.FLUSH), 30.0))
    await asyncio.sleep(0)
    handle.ended()
    with pytest.raises(RuntimeError, match="is not running"):
        await asking


async def test_messages_go_to_the_listener_if_there_is_one() -> None:
    heard: list[Message] = []
    handle = handle_of(FakeProcess(), FakeLine(), on_message=heard.append)
    message = Message(MessageType.PROGRESS, {"progress": 0.5})
    handle.deliver(message)
    assert heard == [message]


async def test_a_second_health_check_only_warns(caplog: pytest.LogCaptureFixture) -> None:
    handle = handle_of(FakeProcess(), FakeLine())
    await handle.start_health_check(60.0)
    with caplog.at_level(logging.WARNING):
        await handle.start_health_check()
    assert "already running" in caplog.text
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert names.count("spawn_health_check:p1") == 1
    await handle.stop_health_check()
    assert "spawn_health_check:p1" not in [task.get_name() for task in asyncio.all_tasks()]
    await handle.stop_health_check()


async def test_two_failed_checks_make_it_unhealthy_once() -> None:
    fired: list[int] = []
    handle = handle_of(FakeProcess(), FakeLine(), on_unhealthy=lambda: fired.append(1))
    assert not await handle.health.check()
    assert not handle.is_healthy
    assert fired == []
    assert not await handle.health.check()
    assert not await handle.health.check()
    assert fired == [1]
    assert handle.health.failures_by_reason == {"timeout": 3}


async def test_a_recovery_arms_the_callback_again() -> None:
    line, fired = FakeLine(), []

    async def unhealthy() -> None:
        fired.append(1)

    handle = handle_of(FakeProcess(), line, on_unhealthy=unhealthy)
    for _ in range(2):
        await handle.health.check()
    line.reactions[MessageType.HEALTH_CHECK] = lambda message: handle.deliver(
        message.reply(MessageType.HEALTH_CHECK_RESPONSE)
    )
    impatient, handle.health.settings = handle.health.settings, PATIENT
    assert await handle.health.check()
    assert (handle.is_healthy, handle.health.failures) == (True, 0)
    line.reactions.clear()
    handle.health.settings = impatient
    for _ in range(2):
        await handle.health.check()
    assert fired == [1, 1]


async def test_a_wrong_answer_is_a_failure() -> None:
    line = FakeLine()
    handle = handle_of(FakeProcess(), line)
    handle.health.settings = PATIENT
    line.reactions[MessageType.HEALTH_CHECK] = lambda message: handle.deliver(message.reply(MessageType.DONE))
    assert not await handle.health.check()
    assert handle.health.failures_by_reason == {"wrong_answer": 1}


async def test_a_callback_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def unhealthy() -> None:
        raise ValueError("no")

    handle = handle_of(FakeProcess(), FakeLine(), on_unhealthy=unhealthy, max_health_failures=1)
    with caplog.at_level(logging.ERROR):
        await handle.health.check()
    assert "on_unhealthy of process p1 raised" in caplog.text


async def test_checks_go_on_until_the_process_ends() -> None:
    process, line = FakeProcess(), FakeLine()
    handle = handle_of(process, line)
    checked = asyncio.Event()

    def answer(message: Message) -> None:
        handle.deliver(message.reply(MessageType.HEALTH_CHECK_RESPONSE))
        if len(line.sent) >= 3:
            checked.set()

    line.reactions[MessageType.HEALTH_CHECK] = answer
    await handle.start_health_check(0.005)
    await checked.wait()
    process.finish(0)
    while any(task.get_name() == "spawn_health_check:p1" for task in asyncio.all_tasks()):
        await asyncio.sleep(0.005)
    assert handle.health.failures == 0


async def test_a_graceful_shutdown_is_true() -> None:
    process, line = FakeProcess(), FakeLine()
    handle = handle_of(process, line)

    def obey(message: Message) -> None:
        assert message.payload == {"reason": "parent_initiated"}
        handle.deliver(message.reply(MessageType.SHUTDOWN_ACK))
        process.finish(0)

    line.reactions[MessageType.SHUTDOWN] = obey
    assert await handle.shutdown() is True
    assert (handle.exit_reason, process.signals) == ("graceful", [])
    assert await handle.shutdown() is True


async def test_a_shutdown_of_a_dead_process_is_true() -> None:
    process = FakeProcess()
    process.finish(1)
    handle = handle_of(process, FakeLine())
    assert await handle.shutdown() is True
    assert handle.exit_reason == "already_dead"
    await handle.force_kill()
    assert process.signals == []


async def test_a_shutdown_without_answer_is_forced() -> None:
    process = FakeProcess()
    handle = handle_of(process, FakeLine())
    assert await handle.shutdown(0.01) is False
    assert (handle.exit_reason, process.signals, handle.exit_code) == ("forced", [signal.SIGTERM], 143)


async def test_one_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringline.host.handle.TERM_PATIENCE_S", 0.01)
    process = FakeProcess(dies_of=[signal.SIGKILL])
    handle = handle_of(process, FakeLine())
    assert await handle.shutdown(0.01) is False
    assert process.signals == [signal.SIGTERM, signal.SIGKILL]


async def test_waiting_for_completion_gives_the_exit_code() -> None:
    process = FakeProcess()
    handle = handle_of(process, FakeLine(), labels={"node": "a"})
    await handle.start_health_check(60.0)
    asyncio.get_running_loop().call_soon(process.finish, 7)
    assert await handle.wait_for_completion() == 7


def test_the_settings_are_plain_values() -> None:
    assert SpawnConfig(1.0, 2.0, 3.0) == SpawnConfig(
        health_check_interval=1.0, shutdown_timeout=2.0, health_check_timeout=3.0
    )
