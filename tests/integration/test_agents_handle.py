"""A spawned process and its handle: names, defaults, return values and errors as documented, and right where handles often err."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from ringline.agents import Message, MessageType, SpawnConfig, SpawnedProcessHandle, running_tasks, spawn_process
from ringline.agents.engine import SpawnSession
from ringline.agents.handle import SpawnedProcess
from ringline.errors import MessageTooLargeError, NodeInitError, NodeLoadError, SettingsError

ROOT = Path(__file__).parents[2]


def agent(name: str, **more: Any) -> dict[str, Any]:
    return {"agent": f"tests.integration.agents_code.spawned:{name}", "paths": [str(ROOT)], **more}


@asynccontextmanager
async def spawned(
    name: str,
    inputs: Any,
    config: SpawnConfig | None = None,
    *,
    unhealthy: Callable[[], Any] | None = None,
    **more: Any,
) -> AsyncIterator[SpawnedProcessHandle]:
    handle = await spawn_process(agent(name, **more), inputs, config, on_unhealthy=unhealthy)
    try:
        yield handle
    finally:
        await handle.force_kill()


def sent(inputs: Any) -> Message:
    return Message(MessageType.INPUT, {"inputs": inputs})


async def received(handle: SpawnedProcessHandle) -> Message:
    message = await asyncio.wait_for(handle.receive_message(), 30)
    assert message is not None
    return message


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.01)


async def test_a_life_from_spawn_to_an_orderly_shutdown() -> None:
    handle = await spawn_process(agent("Echo", arguments={"greeting": "hi"}), {"a": 1})
    assert isinstance(handle, SpawnedProcessHandle)
    defaults = handle.config
    assert (defaults.health_check_interval, defaults.shutdown_timeout, defaults.health_check_timeout) == (
        5.0,
        10.0,
        3.0,
    )
    assert (handle.on_unhealthy, handle.health.settings.max_failures, len(handle.process_id)) == (None, 2, 36)
    assert (handle.is_alive, handle.is_healthy, handle.exit_code, handle.exit_reason) == (True, True, None, None)
    answer = await received(handle)
    assert answer.type is MessageType.OUTPUT
    assert answer.payload["result"] == {"greeting": "hi", "inputs": {"a": 1}, "pid": handle.pid}
    assert handle.pid is not None
    assert os.getpgid(handle.pid) == handle.pid != os.getpgid(0)  # a group of its own
    assert await handle.shutdown() is True
    assert (handle.is_alive, handle.is_healthy, handle.exit_code, handle.exit_reason) == (False, False, 0, "graceful")
    assert handle.last_exit is not None
    assert handle.last_exit.reason == "Shutdown"
    assert await handle.receive_message() is None
    assert await handle.receive_message() is None
    with pytest.raises(RuntimeError, match=f"Process {handle.process_id} is not running"):
        await handle.send_message(Message(MessageType.HEALTH_CHECK))
    assert await handle.shutdown() is True
    assert handle.exit_reason == "graceful"
    await handle.force_kill()
    assert await handle.wait_for_completion() == 0


async def test_a_second_input_is_answered_under_its_own_id() -> None:
    async with spawned("Echo", 1) as handle:
        first = await received(handle)
        questions = [sent(number) for number in range(20)]
        for question in questions:
            await handle.send_message(question)
        answers = [await received(handle) for _ in questions]
        assert [answer.message_id for answer in answers] == [question.message_id for question in questions]
        assert [answer.payload["result"]["inputs"] for answer in answers] == list(range(20))
        assert first.message_id not in {question.message_id for question in questions}


async def test_a_generator_is_answered_in_chunks_and_done_comes_once_at_the_end() -> None:
    handle = await spawn_process(agent("awaited"), {"upto": 3})
    assert await handle.wait_for_completion() == 0
    messages = []
    while (message := await handle.receive_message()) is not None:
        messages.append(message)
    chunks, output, done = messages[:3], messages[3], messages[4]
    assert [(each.type, each.payload) for each in chunks] == [
        (MessageType.STREAM_CHUNK, {"index": number, "chunk": number}) for number in range(3)
    ]
    assert (output.type, output.payload) == (MessageType.OUTPUT, {"result": None, "chunks": 3})
    assert {each.message_id for each in (*chunks, output)} == {output.message_id}
    assert (done.type, len(messages)) == (MessageType.DONE, 5)
    assert handle.last_exit is not None
    assert handle.last_exit.reason == "Completed"
    with pytest.raises(RuntimeError):
        await handle.send_message(sent(1))


async def test_messages_far_over_64_kib_and_arrays_go_both_ways() -> None:
    values = np.arange(400_000, dtype=np.float32)
    async with spawned("doubled", {"values": values}) as handle:
        result = (await received(handle)).payload["result"]
        assert result.dtype == np.float32
        assert np.array_equal(result, values * 2)
        with pytest.raises(MessageTooLargeError):
            await handle.send_message(sent(np.zeros(5 << 20, dtype=np.uint8)))
        await handle.send_message(sent({"values": [1, 2]}))
        assert (await received(handle)).payload["result"].tolist() == [2, 4]


@pytest.mark.parametrize(("name", "reason"), [("raising", "Error"), ("unsendable", "Unsendable")])
async def test_an_error_is_answered_with_its_traceback_and_the_process_goes_on(name: str, reason: str) -> None:
    async with spawned(name, "way") as handle:
        told = await received(handle)
        assert (told.type, told.payload["reason"]) == (MessageType.ERROR, reason)
        assert ("no way" in told.payload["error"]) == (name == "raising")
        assert ("spawned.py" in told.payload["traceback"]) == (name == "raising")
        await handle.send_message(sent("more"))
        assert (await received(handle)).type is MessageType.ERROR
        assert handle.is_alive


async def test_a_flood_on_stderr_holds_nobody_up_and_its_end_is_kept() -> None:
    async with spawned("flooding", {"lines": 20_000}) as handle:
        assert (await received(handle)).payload["result"] == 20_000
        assert await handle.wait_for_completion() == 0
        assert handle.last_exit is not None
        assert handle.last_exit.stderr_tail[-1] == "the last line"


async def test_waiting_for_completion_drains_more_than_the_channel_holds() -> None:
    handle = await spawn_process(agent("counting"), {"upto": 3000})
    assert await handle.wait_for_completion() == 0
    count = 0
    while await handle.receive_message() is not None:
        count += 1
    assert count == 3002


async def test_a_health_check_discards_no_message() -> None:
    async with spawned("counting", {"upto": 200}) as handle:
        checks = [await handle.health.check() for _ in range(5)]
        assert checks == [True] * 5
        chunks = [await received(handle) for _ in range(201)]
        assert [each.payload.get("index") for each in chunks[:200]] == list(range(200))


async def test_periodic_checks_run_once_and_stop(caplog: pytest.LogCaptureFixture) -> None:
    async with spawned("Echo", 0) as handle:
        await handle.start_health_check(0.02)
        with caplog.at_level(logging.WARNING):
            await handle.start_health_check()
        assert "already running" in caplog.text
        names = [task.get_name() for task in asyncio.all_tasks()]
        assert names.count(f"spawn_health_check:{handle.process_id}") == 1
        await asyncio.sleep(0.1)
        assert handle.is_healthy
        await handle.stop_health_check()
        assert f"spawn_health_check:{handle.process_id}" not in [task.get_name() for task in asyncio.all_tasks()]


async def test_busy_in_native_code_without_the_gil_is_healthy_and_with_it_is_not(tmp_path: Path) -> None:
    fired = asyncio.Event()

    async def unhealthy() -> None:
        fired.set()

    async with spawned("native", {"seconds": 1.0}, SpawnConfig(health_check_timeout=60)) as handle:
        await asyncio.sleep(0.1)
        assert await handle.health.check()
    release = tmp_path / "release"
    config = SpawnConfig(health_check_timeout=0.2)
    async with spawned("hogging", {"until": str(release)}, config, unhealthy=unhealthy) as handle:
        await handle.start_health_check(0.05)
        await fired.wait()
        assert (handle.is_healthy, handle.is_alive) == (False, True)  # telling is all that is done
        assert handle.health.failures_by_reason["timeout"] >= 2
        release.touch()
        assert (await received(handle)).payload["result"] == "slept"
        await until(lambda: handle.is_healthy)
        assert handle.health.failures == 0


async def test_one_that_never_listens_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringline.host.handle.TERM_PATIENCE_S", 0.2)
    lines: list[str] = []
    handle = await spawn_process(agent("stubborn"), {}, log_callback=lambda *line: lines.append(line[2]))
    await until(lambda: "stubborn now" in lines)
    assert await handle.shutdown(0.1) is False
    assert (handle.exit_code, handle.exit_reason) == (128 + signal.SIGKILL, "forced")


async def test_killing_takes_the_whole_group() -> None:
    async with spawned("with_child", None) as handle:
        child = psutil.Process((await received(handle)).payload["result"])
        assert child.is_running()
        began = time.monotonic()
        await handle.force_kill()
        assert (handle.exit_code, handle.exit_reason, handle.is_alive) == (137, "forced", False)
        child.wait(10)
        assert time.monotonic() >= began
        with pytest.raises(ProcessLookupError):
            handle.process.send_signal(signal.SIGTERM)
        await handle.force_kill()


async def test_a_process_that_leaves_by_itself_frees_everything_and_was_already_dead() -> None:
    handle = await spawn_process(agent("leaving"), {"code": 7})
    assert await handle.receive_message() is None
    assert await handle.shutdown() is True
    assert (handle.exit_code, handle.exit_reason) == (7, "already_dead")
    assert handle.last_exit is not None
    assert handle.last_exit.reason == "Error"


async def test_its_environment_is_ours_without_our_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLOUR", "blue")
    names = ["COLOUR", "EXTRA", "RINGLINE_SHM_DIR"]
    async with spawned("environment", names, env={"EXTRA": "1"}) as handle:
        assert (await received(handle)).payload["result"] == {"COLOUR": "blue", "EXTRA": "1", "RINGLINE_SHM_DIR": None}


async def test_of_our_environment_only_what_is_allowed_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLOUR", "SHAPE", "TASTE_A", "TASTE_B"):
        monkeypatch.setenv(name, "ours")
    names = ["COLOUR", "SHAPE", "TASTE_A", "TASTE_B", "EXTRA"]
    async with spawned("environment", names, env={"EXTRA": "1"}, env_allow=["SHAPE", "TASTE_*"]) as handle:
        assert (await received(handle)).payload["result"] == {
            "COLOUR": None,
            "SHAPE": "ours",
            "TASTE_A": "ours",
            "TASTE_B": "ours",
            "EXTRA": "1",
        }
    async with spawned("environment", ["COLOUR", "PATH"], env_allow=[]) as handle:
        seen = (await received(handle)).payload["result"]
        assert (seen["COLOUR"], seen["PATH"]) == (None, os.environ["PATH"])
    for wrong in ("HOME", [1], {"HOME": "x"}):
        with pytest.raises(SettingsError, match="env_allow of agent_config is a list"):
            await spawn_process(agent("environment", env_allow=wrong), names)


async def test_its_logging_is_configured_before_its_module_is_imported_and_its_prints_can_be_read(
    tmp_path: Path,
) -> None:
    file = tmp_path / "log"
    logging_config = {
        "version": 1,
        "formatters": {"short": {"format": "%(name)s %(message)s"}},
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(file), "formatter": "short"}},
        "loggers": {"chatty": {"level": "INFO", "handlers": ["file"]}},
    }
    config = {"agent": "tests.integration.agents_code.chatty:speaking", "paths": [str(ROOT)]}
    handle = await spawn_process({**config, "logging_config": logging_config}, 5)
    assert (await received(handle)).payload["result"] == 5
    assert await handle.wait_for_completion() == 0
    assert file.read_text(encoding="utf-8").splitlines() == ["chatty imported", "chatty asked 5"]
    process = handle.process
    assert isinstance(process, SpawnedProcess)
    assert [line async for line in process.stdout] == [b"to whom it may concern\n"]
    assert b"a complaint\n" in [line async for line in process.stderr]
    assert process.stdin is not None
    assert process.stdin.is_closing()


async def test_the_first_message_is_an_input_with_its_config_and_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Message] = []
    send = SpawnSession.send

    async def kept(session: SpawnSession, message: Message) -> None:
        told.append(message)
        await send(session, message)

    monkeypatch.setattr(SpawnSession, "send", kept)
    async with spawned("Echo", {"a": 1}) as handle:
        answer = await received(handle)
        first = next(each for each in told if each.type is not MessageType.START)  # nothing but the start comes before
        assert told.index(first) <= 1
        assert first.type is MessageType.INPUT
        assert first.payload == {"agent_config": agent("Echo"), "inputs": {"a": 1}}
        assert uuid.UUID(first.message_id).version == uuid.UUID(handle.process_id).version == 4
        assert answer.message_id == first.message_id
        names = [task.name for task in running_tasks("runner.spawn")]
        assert f"spawned:{handle.process_id}" in names


async def test_what_can_not_be_spawned_says_why_and_leaves_nothing() -> None:
    with pytest.raises(SettingsError, match="needs 'agent'"):
        await spawn_process({}, {})
    with pytest.raises(SettingsError, match=r"no field 'argument'.*arguments"):
        await spawn_process(agent("Echo", argument={}), {})
    with pytest.raises(NodeLoadError, match="has no 'Missing'"):
        await spawn_process(agent("Missing"), {})
    bad = {"version": 1, "handlers": {"x": {"class": "no.such.Handler"}}}
    with pytest.raises(NodeInitError, match="Unable to configure handler 'x'"):
        await spawn_process(agent("Echo", logging_config=bad), {})
