"""Sleeping and being woken: by messages, by room, by `wake`, on an event loop, through signals."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

import pytest

from ringline.errors import ArenaError
from ringline.names import HOST
from ringline.shm import Arena
from tests.conformance import raw
from tests.conformance.conftest import MakeScene
from tests.conformance.scene import Scene, channel, drain, get, put

FLAGS = 7
"""Of a bell: somebody of its node has said that he is about to sleep."""


def asleep(scene: Scene, node: str) -> bool:
    words = raw.Raw(scene.directory, scene.layout)
    try:
        return bool(words.peek(words.node(node, raw.BELL)) & FLAGS)
    finally:
        words.close()


def when_asleep(scene: Scene, node: str, action: Callable[[], object]) -> threading.Thread:
    """Do something as soon as a thread of the node sleeps, which on a busy machine takes as long as it takes."""

    def act() -> None:
        while not asleep(scene, node):
            time.sleep(0.001)
        action()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_nobody_sleeps_who_has_not_said_so(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    assert not asleep(scene, HOST)
    scene.host.arm()
    assert (asleep(scene, HOST), asleep(scene, "node")) == (True, False)
    scene.host.disarm()
    assert not asleep(scene, HOST)


def readable(arena: Arena, timeout_s: float = 0) -> bool:
    return bool(select.select([arena.poll_fd], [], [], timeout_s)[0])


def test_a_wait_ends_when_a_message_arrives(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    writer = scene.writer("a")
    scene.reader("a")
    thread = when_asleep(scene, "node", lambda: put(writer, "x"))
    assert scene.arena("node").wait(20) is True
    thread.join()
    assert drain(scene.reader("a")) == ["x"]
    assert scene.channel_stats("a").wakeups == 1


def test_a_wait_without_events_ends_with_its_time(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    scene.reader("a")
    start = time.monotonic()
    assert scene.arena("node").wait(0.05) is False
    assert scene.arena("node").wait(timeout_s=0) is False
    assert time.monotonic() - start >= 0.05


@pytest.mark.parametrize("timeout", ["soon", float("nan")])
def test_a_timeout_that_is_no_time_is_refused(make_scene: MakeScene, timeout: object) -> None:
    scene = make_scene(channel("a"))
    with pytest.raises((TypeError, ValueError)):
        scene.host.wait(timeout)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        scene.host.wait(1, 2)  # type: ignore[call-arg]


def test_wake_ends_the_wait_of_another_thread(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    thread = when_asleep(scene, HOST, scene.host.wake)
    assert scene.host.wait(20) is True
    thread.join()
    assert scene.host.wait(0) is False


def test_a_wake_before_the_wait_is_not_lost(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    scene.host.wake()
    assert scene.host.wait(0) is True


def test_close_ends_the_wait_of_another_thread(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    arena = scene.arena("node")
    thread = when_asleep(scene, "node", lambda: scene.leave("node"))
    with pytest.raises(ArenaError, match="closed"):
        arena.wait(20)
    thread.join()


def test_a_signal_handler_runs_during_a_wait_and_may_end_it(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))

    def handler(number: int, frame: FrameType | None) -> None:
        raise InterruptedError("signal came")

    before = signal.signal(signal.SIGUSR1, handler)
    thread = when_asleep(scene, HOST, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    try:
        with pytest.raises(InterruptedError, match="signal came"):
            scene.host.wait(20)
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_just_before_a_wake_is_handled(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=1))
    put(scene.writer("a"), "x")

    def handler(number: int, frame: FrameType | None) -> None:
        raise InterruptedError

    def wake_and_signal() -> None:
        scene.host.wake()
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    thread = when_asleep(scene, HOST, wake_and_signal)
    try:
        with pytest.raises(InterruptedError):
            put(scene.writer("a"), "y")
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_ends_a_send_that_waits_for_room(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=1))
    put(scene.writer("a"), "x")

    def handler(number: int, frame: FrameType | None) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGUSR1, handler)
    thread = when_asleep(scene, HOST, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    try:
        with pytest.raises(InterruptedError):
            put(scene.writer("a"), "y")
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert (drain(scene.reader("a")), put(scene.writer("a"), "z")) == (["x"], True)


def test_other_threads_run_while_one_waits(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    turns: list[int] = []
    thread = threading.Thread(target=lambda: turns.extend(i for i in range(100_000)))
    thread.start()
    scene.host.wait(0.2)
    thread.join()
    assert len(turns) == 100_000


def test_two_threads_may_wait_at_once(make_scene: MakeScene) -> None:
    scene = make_scene(channel("in"), channel("out", "node", "@host", capacity=1))
    scene.reader("in")
    writer, sent = scene.writer("out"), []
    put(writer, "full")
    sender = threading.Thread(target=lambda: sent.append(put(writer, "waits")))
    sender.start()
    time.sleep(0.05)
    thread = when_asleep(scene, "node", lambda: put(scene.writer("in"), "x"))
    assert scene.arena("node").wait(20)
    thread.join()
    drain(scene.reader("out"))
    sender.join()
    assert sent == [True]


def test_a_reader_that_nobody_wants_wakes_nobody(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"), channel("b"))
    put(scene.writer("a"), "x")
    scene.reader("a").wanted = False
    scene.reader("b")
    assert (scene.arena("node").wait(0), scene.arena("node").arm()) == (False, False)
    put(scene.writer("b"), "y")
    assert scene.arena("node").wait(0) is True
    scene.arena("node").disarm()


def test_an_event_loop_is_woken_through_the_fifo(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    arena, reader = scene.arena("node"), scene.reader("a")
    assert arena.arm() is False
    assert not readable(arena)
    put(scene.writer("a"), "x")
    assert readable(arena, 5)
    arena.disarm()
    assert (readable(arena), drain(reader)) == (False, ["x"])


def test_the_fifo_is_left_alone_while_nobody_polls(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    arena = scene.arena("node")
    scene.reader("a")
    put(scene.writer("a"), "x")
    assert not readable(arena)


def test_arming_says_that_something_is_there_and_leaves_nothing_armed(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    arena = scene.arena("node")
    scene.reader("a")
    put(scene.writer("a"), "x")
    assert arena.arm() is True
    put(scene.writer("a"), "y")
    assert not readable(arena)


def test_what_one_task_finds_ready_does_not_disarm_another(make_scene: MakeScene) -> None:
    scene = make_scene(channel("in"), channel("out", "node", "@host", capacity=1))
    arena = scene.arena("node")
    scene.reader("in")
    put(scene.writer("out"), "1")
    scene.writer("out").try_send(b"2", 0, b"", 0)
    assert arena.arm(inputs=False) is False
    put(scene.writer("in"), "x")
    assert arena.arm() is True
    drain(scene.reader("out"))
    assert readable(arena, 5)
    arena.disarm()


def test_waiting_for_room_ignores_input(make_scene: MakeScene) -> None:
    scene = make_scene(channel("in"), channel("out", "node", "@host", capacity=1))
    arena = scene.arena("node")
    scene.reader("in")
    put(scene.writer("in"), "x")
    put(scene.writer("out"), "1")
    assert scene.writer("out").try_send(b"2", 0, b"", 0) is None
    assert arena.arm(inputs=False) is False
    drain(scene.reader("out"))
    assert readable(arena, 5)
    arena.disarm()
    assert scene.writer("out").try_send(b"2", 0, b"", 0) is True


def test_a_writer_that_waits_for_input_is_not_woken_by_room(make_scene: MakeScene) -> None:
    scene = make_scene(channel("there"), channel("back", "node", "@host"))
    scene.reader("back")
    put(scene.writer("there"), "x")
    assert scene.host.arm() is False
    assert drain(scene.reader("there")) == ["x"]
    assert not readable(scene.host)
    put(scene.writer("back"), "y")
    assert readable(scene.host, 5)
    scene.host.disarm()


def test_a_try_that_finds_no_room_is_woken_although_the_loop_was_armed_before(make_scene: MakeScene) -> None:
    scene = make_scene(channel("there", capacity=1), channel("back", "node", "@host"))
    scene.reader("back")
    assert scene.host.arm() is False
    put(scene.writer("there"), "1")
    assert scene.writer("there").try_send(b"2", 0, b"", 0) is None
    assert drain(scene.reader("there")) == ["1"]
    assert readable(scene.host, 5)
    scene.host.disarm()
    assert scene.writer("there").try_send(b"2", 0, b"", 0) is True


def test_one_ring_covers_every_message_of_one_sleep(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=9))
    arena, reader = scene.arena("node"), scene.reader("a")
    for sleep in (1, 2):
        assert arena.arm() is False
        for i in range(5):
            put(scene.writer("a"), str(i))
        assert (readable(arena, 5), scene.channel_stats("a").wakeups) == (True, sleep)
        arena.disarm()
        assert len(drain(reader)) == 5


def test_wake_reaches_an_event_loop(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    scene.host.arm()
    thread = when_asleep(scene, HOST, scene.host.wake)
    assert readable(scene.host, 5)
    thread.join()
    scene.host.disarm()


def test_room_is_reported_once_to_who_waited_for_it(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=1))
    put(scene.writer("a"), "x")
    assert scene.writer("a").try_send(b"y", 0, b"", 0) is None
    assert scene.host.wait(0) is False
    drain(scene.reader("a"))
    assert (scene.host.wait(0), scene.host.wait(0)) == (True, False)


def test_a_cancelled_try_is_not_reported(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=1))
    put(scene.writer("a"), "x")
    scene.writer("a").try_send(b"y", 0, b"", 0)
    scene.writer("a").cancel()
    drain(scene.reader("a"))
    assert scene.host.wait(0) is False


def test_a_missing_fifo_is_named(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    bell = scene.directory / f"bell.{scene.host.index}"
    bell.unlink()
    bell.write_text("a file")
    with pytest.raises(ArenaError, match=r"FIFO bell\.1"):
        _ = scene.host.poll_fd


def test_messages_flow_both_ways_between_two_waiting_threads(make_scene: MakeScene) -> None:
    scene = make_scene(channel("there", capacity=2), channel("back", "node", "@host", capacity=2))
    thread = threading.Thread(target=echo, args=(scene, 3000))
    thread.start()
    for i in range(3000):
        put(scene.writer("there"), str(i))
        while (lease := scene.reader("back").next()) is None:
            scene.host.wait()
        assert bytes(lease) == str(i).encode()
        lease.release()
    thread.join()


def echo(scene: Scene, count: int) -> None:
    arena, reader, writer = scene.arena("node"), scene.reader("there"), scene.writer("back")
    for _ in range(count):
        while not arena.wait():
            pass
        lease = get(reader)
        writer.forward(lease, 0, b"", 0)
        lease.release()
