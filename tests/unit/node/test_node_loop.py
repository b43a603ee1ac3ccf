"""The main task of an async node sleeps in shared memory only while nothing but the loop could wake it: nobody else is left waiting."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ringline.data import RuntimeData
from ringline.node.base import MultiprocessNode
from ringline.node.bell import Bell, NodeLoop
from tests.unit.node.fakes import Channel, FakeArena, Rig


class Place:
    """A loop with a bell over an arena that is plain memory; counts the sleeps outside the loop."""

    def __init__(self) -> None:
        self.arena = FakeArena({"in": Channel()})
        self.reader = self.arena.reader("in")
        self.loop = NodeLoop()
        arena: Any = self.arena
        self.bell = Bell(self.loop, arena)
        self.sleeps = 0
        self.asleep = threading.Event()
        wait = self.arena.wait

        def counted(timeout_s: float | None = None) -> bool:
            self.sleeps += 1
            self.asleep.set()
            return wait(timeout_s)

        self.arena.wait = counted  # type: ignore[method-assign]

    def put(self) -> None:
        with self.arena.changed:
            self.arena.channels["in"].queue.append((0, (1, b"", b"x", 0, 0, 0)))
        self.arena.wake()

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        self.bell.close()
        self.loop.close()
        self.arena.close()


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.close()


def test_alone_it_sleeps_in_shared_memory(place: Place) -> None:
    place.put()
    place.run(place.bell.rest())
    assert place.sleeps == 1


def test_it_wakes_for_a_message_that_comes_later(place: Place) -> None:
    timer = threading.Timer(0.05, place.put)
    timer.start()
    place.run(place.bell.rest())
    timer.join()
    assert place.reader.next() is not None


async def _rest_beside(place: Place, begin: Callable[[asyncio.AbstractEventLoop], Any]) -> Any:
    kept = begin(asyncio.get_running_loop())
    await place.bell.rest()
    return kept


def test_a_timer_keeps_it_on_the_loop(place: Place) -> None:
    called: list[str] = []

    def later(loop: asyncio.AbstractEventLoop) -> Any:
        loop.call_later(0.02, called.append, "called")
        return loop.call_later(0.05, place.put)

    place.run(_rest_beside(place, later))
    assert (called, place.sleeps) == (["called"], 0)


def test_a_callback_that_is_due_keeps_it_on_the_loop(place: Place) -> None:
    called: list[str] = []

    def soon(loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(called.append, "called")
        loop.call_soon(place.put)

    place.run(_rest_beside(place, soon))
    assert (called, place.sleeps) == (["called"], 0)


def test_a_descriptor_that_a_task_watches_keeps_it_on_the_loop(place: Place) -> None:
    end, other = os.pipe()
    read: list[bytes] = []

    def watch(loop: asyncio.AbstractEventLoop) -> None:
        def readable() -> None:
            read.append(os.read(end, 1))
            loop.remove_reader(end)
            place.put()

        loop.add_reader(end, readable)
        os.write(other, b"!")

    try:
        place.run(_rest_beside(place, watch))
    finally:
        os.close(end)
        os.close(other)
    assert (read, place.sleeps) == ([b"!"], 0)


def test_a_signal_handler_of_the_loop_keeps_it_on_the_loop(place: Place) -> None:
    seen: list[str] = []

    def handle() -> None:
        seen.append("seen")
        place.put()

    place.loop.add_signal_handler(signal.SIGUSR2, handle)
    try:
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR2))
        timer.start()
        place.run(place.bell.rest())
        timer.join()
    finally:
        place.loop.remove_signal_handler(signal.SIGUSR2)
    assert (seen, place.sleeps) == (["seen"], 0)


def test_another_task_that_waits_for_room_keeps_it_on_the_loop(place: Place) -> None:
    async def both() -> None:
        other = asyncio.ensure_future(place.bell.wait())
        await asyncio.sleep(0)
        place.put()
        await place.bell.rest()
        await other

    place.run(both())
    assert place.sleeps == 0


def test_a_callback_from_another_thread_wakes_it_and_is_run(place: Place) -> None:
    called: list[str] = []

    def from_outside() -> None:
        place.asleep.wait()
        place.loop.call_soon_threadsafe(called.append, "called")

    thread = threading.Thread(target=from_outside)
    thread.start()
    place.run(place.bell.rest())
    thread.join()
    assert (called, place.sleeps) == (["called"], 1)


def test_its_time_ends_outside_the_loop_too(place: Place) -> None:
    place.run(place.bell.rest(0.01))
    assert place.sleeps == 1


def test_a_wait_whose_time_is_over_is_forgotten(place: Place) -> None:
    async def several() -> None:
        for _ in range(3):
            await place.bell.wait(0.001)
        cancelled = asyncio.ensure_future(place.bell.wait())
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)

    place.run(several())
    assert place.bell.waiting == []
    place.put()
    place.run(place.bell.rest())
    assert place.sleeps == 1


class Helped(MultiprocessNode):
    """Hands each text to a thread and goes on; what the thread gives is sent by a task of its own."""

    def initialize(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    async def process(self, data: RuntimeData) -> None:
        self.tasks.append(asyncio.ensure_future(self._help(data.as_text())))

    async def _help(self, text: str) -> None:
        await self.emit_async("output", await asyncio.to_thread(text.upper))

    async def on_end(self) -> None:
        await asyncio.gather(*self.tasks)


def test_tasks_that_a_thread_helps_finish_while_the_node_waits_for_input() -> None:
    rig = Rig(Helped)
    rig.feed("a")
    answered = threading.Event()

    def end() -> None:
        while not rig.sent():
            answered.wait(0.01)
        rig.feed(end=True)

    ender = threading.Thread(target=end)
    ender.start()
    assert rig.run() == ["A"]
    ender.join()


class Ticking(MultiprocessNode):
    """Sends something by a timer of its own, whatever comes in."""

    async def process(self, data: RuntimeData) -> None:
        asyncio.get_running_loop().call_later(0.02, lambda: asyncio.ensure_future(self.emit_async("output", "tick")))
        del data


def test_a_timer_of_the_node_fires_while_it_waits_for_input() -> None:
    rig = Rig(Ticking)
    rig.feed("a")
    waiting = threading.Event()

    def end() -> None:
        while not rig.sent():
            waiting.wait(0.01)
        rig.feed(end=True)

    ender = threading.Thread(target=end)
    ender.start()
    assert rig.run() == ["tick"]
    ender.join()
