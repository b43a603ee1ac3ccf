"""Event loops and threads at once: what is armed, drained and rung in any order is never lost."""

from __future__ import annotations

import asyncio
import random
import select
import threading
import time

import pytest

from ringline.graph.layout import Overflow
from ringline.names import HOST
from ringline.shm import Arena, Reader, Writer
from tests.conformance.conftest import MakeScene
from tests.conformance.scene import channel, drain, put

COUNT = 1500


def sleep_until_rung(arena: Arena) -> None:
    """One turn of an event loop."""
    if not arena.arm():
        assert select.select([arena.poll_fd], [], [], 20)[0], "a wake-up was lost"
    arena.disarm()


def read_all(arena: Arena, reader: Reader, texts: list[str]) -> None:
    while not reader.ended:
        sleep_until_rung(arena)
        texts += drain(reader)


def send_polling(arena: Arena, writer: Writer, count: int, pause: random.Random) -> None:
    for i in range(count):
        while writer.try_send(str(i).encode(), 0, b"", 0) is None:
            sleep_until_rung(arena)
        if pause.random() < 0.01:
            time.sleep(0.0005)
    writer.end()


@pytest.mark.parametrize("capacity", [1, 2, 4])
def test_two_event_loops_pass_everything_on_in_order(make_scene: MakeScene, capacity: int) -> None:
    scene = make_scene(channel("a", capacity=capacity))
    reader, writer, texts = scene.reader("a"), scene.writer("a"), list[str]()
    thread = threading.Thread(target=read_all, args=(scene.arena("node"), reader, texts))
    thread.start()
    send_polling(scene.host, writer, COUNT, random.Random(capacity))
    thread.join()
    assert (texts, scene.dropped("a")) == ([str(i) for i in range(COUNT)], {})


@pytest.mark.parametrize("policy", ["drop_oldest", "latest", "drop_newest"])
def test_a_polling_reader_sees_the_last_or_the_first_whatever_is_dropped(
    make_scene: MakeScene, policy: Overflow
) -> None:
    scene = make_scene(channel("a", capacity=1 if policy == "latest" else 2, overflow=policy))
    reader, writer, texts = scene.reader("a"), scene.writer("a"), list[str]()
    thread = threading.Thread(target=read_all, args=(scene.arena("node"), reader, texts))
    thread.start()
    send_polling(scene.host, writer, COUNT, random.Random(1))
    thread.join()
    numbers = [int(text) for text in texts]
    assert numbers == sorted(set(numbers))
    assert len(texts) + sum(scene.dropped("a").values()) == COUNT
    assert policy == "drop_newest" or numbers[-1] == COUNT - 1


def test_a_sleeping_thread_and_an_event_loop_share_one_doorbell(make_scene: MakeScene) -> None:
    """The thread waits for room with the futex, the loop for input with the FIFO; neither takes the other's ring."""
    scene = make_scene(channel("in", capacity=1), channel("out", "node", HOST, 1))
    node, reader, out = scene.arena("node"), scene.reader("in"), scene.writer("out")
    back, texts, answers = scene.reader("out"), list[str](), list[str]()
    sender = threading.Thread(target=send_everywhere, args=([out], 400))
    loop = threading.Thread(target=read_all, args=(node, reader, texts))
    sender.start()
    loop.start()
    writer, sent = scene.writer("in"), 0
    while sent < 400 or not back.ended:
        if sent < 400 and writer.try_send(str(sent).encode(), 0, b"", 0):
            sent += 1
        scene.host.wait(0.01)
        answers += drain(back)
    writer.end()
    sender.join()
    loop.join()
    assert texts == answers == [str(i) for i in range(400)]


async def test_an_asyncio_loop_serves_many_channels_at_once(make_scene: MakeScene) -> None:
    names = [f"c{i}" for i in range(6)]
    scene = make_scene(*(channel(name, HOST, "node", 1 + i % 3) for i, name in enumerate(names)))
    node, readers, rung = scene.arena("node"), [scene.reader(name) for name in names], asyncio.Event()
    loop, got = asyncio.get_running_loop(), {name: list[str]() for name in names}
    writers = [scene.writer(name) for name in names]
    loop.add_reader(node.poll_fd, rung.set)
    thread = threading.Thread(target=send_everywhere, args=(writers, 200))
    thread.start()
    try:
        while not all(reader.ended for reader in readers):
            if not node.arm():
                await asyncio.wait_for(rung.wait(), 20)
            rung.clear()
            node.disarm()
            for reader in readers:
                got[reader.channel] += drain(reader)
    finally:
        loop.remove_reader(node.poll_fd)
    thread.join()
    assert got == {name: [str(i) for i in range(200)] for name in names}


def send_everywhere(writers: list[Writer], count: int) -> None:
    for i in range(count):
        for writer in writers:
            put(writer, str(i))
    for writer in writers:
        writer.end()


def test_arming_twice_and_disarming_once_leaves_nothing_armed(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    node = scene.arena("node")
    scene.reader("a")
    assert (node.arm(), node.arm(inputs=False), node.arm()) == (False, False, False)
    node.disarm()
    node.disarm()
    put(scene.writer("a"), "x")
    assert not select.select([node.poll_fd], [], [], 0)[0]
    assert scene.channel_stats("a").wakeups == 0


def test_many_threads_may_wake_a_loop_that_arms_and_disarms(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    node, stop, turns = scene.arena("node"), threading.Event(), 0
    threads = [threading.Thread(target=wake_until, args=(node, stop)) for _ in range(3)]
    for thread in threads:
        thread.start()
    while turns < 200:
        sleep_until_rung(node)
        turns += 1
    stop.set()
    for thread in threads:
        thread.join()
    assert turns == 200
    assert drain(scene.reader("a")) == []


def wake_until(node: Arena, stop: threading.Event) -> None:
    while not stop.wait(0.0001):
        node.wake()
