"""The orderly end: drain, SHUTDOWN, SIGTERM, SIGKILL, and the shortcut."""

from __future__ import annotations

import asyncio
import signal

import pytest

from ringline.control.messages import Message, MessageType
from ringline.errors import ControlError
from ringline.host.shutdown import end_nodes
from tests.unit.host.fakes import FakeLine, FakeProcess, member_of


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringline.host.shutdown.TERM_PATIENCE_S", 0.02)
    monkeypatch.setattr("ringline.host.shutdown.KILL_PATIENCE_S", 0.02)


def ends_on(line: FakeLine, process: FakeProcess, kind: MessageType) -> None:
    def obey(_: Message) -> None:
        process.finish(0)

    line.reactions[kind] = obey


async def test_nodes_that_drain_are_only_told_to_stop() -> None:
    process, line = FakeProcess(), FakeLine()
    member = member_of("a", process, line)
    ends_on(line, process, MessageType.STOP)
    await end_nodes([member], drain=True, grace_s=30.0, hurry=asyncio.Event())
    assert line.types() == [MessageType.STOP]
    assert process.signals == []
    assert member.stopping


async def test_what_does_not_drain_is_shut_down_within_the_same_grace() -> None:
    process, line = FakeProcess(), FakeLine()
    ends_on(line, process, MessageType.SHUTDOWN)
    await end_nodes([member_of("a", process, line)], drain=True, grace_s=0.05, hurry=asyncio.Event())
    assert line.types() == [MessageType.STOP, MessageType.SHUTDOWN]
    assert process.signals == []


async def test_without_draining_shutdown_comes_first() -> None:
    process, line = FakeProcess(), FakeLine()
    ends_on(line, process, MessageType.SHUTDOWN)
    await end_nodes([member_of("a", process, line)], drain=False, grace_s=30.0, hurry=asyncio.Event())
    assert line.types() == [MessageType.SHUTDOWN]


async def test_a_deaf_node_gets_sigterm_then_sigkill() -> None:
    polite, deaf = FakeProcess(), FakeProcess(dies_of=[signal.SIGKILL])
    members = [member_of("polite", polite, FakeLine()), member_of("deaf", deaf, FakeLine())]
    await end_nodes(members, drain=False, grace_s=0.01, hurry=asyncio.Event())
    assert polite.signals == [signal.SIGTERM]
    assert deaf.signals == [signal.SIGTERM, signal.SIGKILL]


async def test_one_that_cannot_be_told_is_terminated_at_once() -> None:
    class Broken(FakeLine):
        async def send(self, message: Message) -> None:
            raise ControlError("not connected")

    process = FakeProcess()
    await end_nodes([member_of("early", process, Broken())], drain=True, grace_s=0.05, hurry=asyncio.Event())
    assert process.signals == [signal.SIGTERM]


async def test_one_that_was_just_being_started_is_told_as_soon_as_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringline.host.shutdown.REMIND_S", 0.001)

    class Late(FakeLine):
        tries = 0

        async def send(self, message: Message) -> None:
            self.tries += 1
            if self.tries < 4:
                raise ControlError("not connected")
            await super().send(message)

    process, line = FakeProcess(dies_of=[signal.SIGKILL]), Late()
    ends_on(line, process, MessageType.SHUTDOWN)
    await end_nodes([member_of("late", process, line)], drain=False, grace_s=3600.0, hurry=asyncio.Event())
    assert process.signals == [signal.SIGTERM], "which was lost"
    assert process.returncode == 0


async def test_hurry_skips_what_is_left_of_every_wait() -> None:
    process = FakeProcess(dies_of=[signal.SIGKILL])
    hurry = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, hurry.set)
    await end_nodes([member_of("a", process, FakeLine())], drain=True, grace_s=3600.0, hurry=hurry)
    assert process.signals == [signal.SIGTERM, signal.SIGKILL]


async def test_one_that_survives_everything_does_not_hold_the_end_up() -> None:
    process = FakeProcess(dies_of=[])
    await end_nodes([member_of("zombie", process, FakeLine())], drain=False, grace_s=0.0, hurry=asyncio.Event())
    assert process.returncode is None


async def test_no_nodes_end_at_once() -> None:
    await end_nodes([], drain=True, grace_s=3600.0, hurry=asyncio.Event())
