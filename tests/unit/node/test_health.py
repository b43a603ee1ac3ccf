"""The watchdog decides by the clock alone: the clock is a number here, and the end of the process a record."""

from __future__ import annotations

import faulthandler
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from ringline.control.messages import Message, MessageType
from ringline.node import exits
from ringline.node.health import DUMP_S, LOOP_STALL_S, Watchdog


class Left(BaseException):
    """What `os._exit` raises here."""


class World:
    """A clock, what was sent, written and armed, and the driver that is watched."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.sent: list[Message] = []
        self.written = b""
        self.armed: list[float] = []
        self.dumps = 0
        self.busy_since = 0.0
        self.answers: list[Callable[[], None]] | None = None
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(os, "_exit", self._leave)
        monkeypatch.setattr(os, "write", self._write)
        monkeypatch.setattr(faulthandler, "dump_traceback", self._dump)
        monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda seconds, **_: self.armed.append(seconds))

    def _leave(self, code: int) -> None:
        raise Left(code)

    def _write(self, _descriptor: int, data: bytes) -> int:
        self.written += data
        return len(data)

    def _dump(self, **_: Any) -> None:
        self.dumps += 1

    def ping(self, answer: Callable[[], None]) -> bool:
        if self.answers is None:
            return False
        self.answers.append(answer)
        return True

    def pass_time(self, watchdog: Watchdog, seconds: float) -> None:
        """Let time go by, ticking as the control thread would."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + min(watchdog.tick(), end - self.now))
        watchdog.tick()

    @property
    def reason(self) -> str | None:
        errors = [message.payload for message in self.sent if message.type is MessageType.ERROR]
        return errors[0]["reason"] if errors else None


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def watchdog(world: World, init_s: float = 30.0, stall_s: float | None = None) -> Watchdog:
    return Watchdog("asr", init_s, stall_s, world.sent.append)


def running(world: World, stall_s: float | None = None) -> Watchdog:
    made = watchdog(world, stall_s=stall_s)
    made.ready(world)
    return made


def test_an_initialize_in_time_is_left_alone(world: World) -> None:
    dog = watchdog(world)
    world.pass_time(dog, 29.9)
    dog.ready(world)
    world.pass_time(dog, 1000)
    assert world.sent == []


def test_one_that_takes_too_long_says_how_far_it_was_and_then_leaves(world: World) -> None:
    dog = watchdog(world, init_s=30)
    dog.note("40% weights loaded")
    with pytest.raises(Left) as left:
        world.pass_time(dog, 31)
    assert left.value.args == (exits.INIT_TIMEOUT,)
    text = "Node 'asr' failed to initialize within 30s (last progress: 40% weights loaded)"
    assert world.sent[0].payload["error"] == text
    assert text.encode() in world.written
    assert world.dumps == 1


def test_a_dump_is_armed_for_an_initialize_that_holds_the_gil(world: World) -> None:
    world.pass_time(watchdog(world, init_s=30), 5)
    assert world.armed == [31.0]


def test_a_plain_process_may_work_for_ever_by_default(world: World) -> None:
    dog = running(world)
    world.busy_since = world.now
    world.pass_time(dog, 10_000)
    assert world.sent == []


def test_each_piece_of_work_arms_one_dump_and_an_idle_node_keeps_it_off(world: World) -> None:
    dog = running(world)
    world.pass_time(dog, 20)
    idle = len(world.armed)
    world.busy_since = world.now
    world.pass_time(dog, 60)
    assert len(world.armed) == idle + 1
    assert set(world.armed) == {DUMP_S}
    world.busy_since = world.now
    world.pass_time(dog, 1)
    assert len(world.armed) == idle + 2


@pytest.mark.parametrize("stall_s", [1.0, 5.0])
def test_with_a_limit_a_busy_node_is_stalled(world: World, stall_s: float) -> None:
    dog = running(world, stall_s)
    world.busy_since = world.now
    world.pass_time(dog, stall_s * 0.9)
    assert world.reason is None
    with pytest.raises(Left) as left:
        world.pass_time(dog, stall_s)
    assert left.value.args == (exits.STALLED,)
    assert world.reason == "Stalled"


def test_a_beat_starts_the_time_anew(world: World) -> None:
    dog = running(world, 5.0)
    for _ in range(10):
        world.busy_since = world.now
        world.pass_time(dog, 4)
    assert world.reason is None


def test_a_blocked_event_loop_is_stalled_by_default(world: World) -> None:
    world.answers = []
    dog = running(world)
    world.pass_time(dog, LOOP_STALL_S - 1)
    assert world.reason is None
    with pytest.raises(Left):
        world.pass_time(dog, 5)
    assert world.reason == "Stalled"


def test_a_loop_that_answers_is_not_however_busy_it_is(world: World) -> None:
    world.answers = []
    dog = running(world)
    world.busy_since = world.now
    for _ in range(100):
        world.pass_time(dog, 1)
        while world.answers:
            world.answers.pop()()
    assert world.reason is None


def test_zero_means_never(world: World) -> None:
    world.answers = []
    dog = running(world, 0.0)
    world.busy_since = world.now
    world.pass_time(dog, 1000)
    assert world.reason is None


def test_a_process_that_was_stopped_is_not_stalled_when_it_goes_on(world: World) -> None:
    world.answers = []
    dog = running(world)
    dog.tick()
    world.now += 60
    dog.tick()
    for answer in world.answers:
        answer()
    world.pass_time(dog, 2)
    assert world.reason is None


def test_a_failed_node_whose_cleanup_hangs_leaves_all_the_same(world: World) -> None:
    dog = running(world)
    dog.leave_within(5.0, exits.ERROR)
    with pytest.raises(Left) as left:
        world.pass_time(dog, 10)
    assert left.value.args == (exits.ERROR,)
