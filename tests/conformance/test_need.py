"""A node that waits for a block asks the others, who drop for it what they may: however many of its threads and writers wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ringline.shm import Writer
from tests.conformance import raw
from tests.conformance.conftest import MakeScene
from tests.conformance.scene import Scene, channel, drain, get, put

HEAP = 64 << 10
"""max_message_bytes: the heaps have room for one such message and one of metadata, so two of these fill them."""
PIECE = 60_000


def crowded(make_scene: MakeScene, capacity: int = 8) -> Scene:
    """host → middle → last, and host → middle a second time: what middle passes on lies in a channel that may drop it."""
    return make_scene(
        channel("a", "host", "middle", capacity),
        channel("b", "host", "middle", capacity),
        channel("late", "middle", "last", 64, "drop_oldest"),
        message=HEAP,
        shm=1 << 19,
    )


def fill(scene: Scene, piece: int = PIECE) -> int:
    """Fill the host's heap with messages that wait in `late`; returns how many there are."""
    writer, reader, late = scene.writer("a"), scene.reader("a"), scene.writer("late")
    count = 0
    while writer.try_send(bytes(piece), 0, b"", 0):
        lease = get(reader)
        late.forward(lease, 0, b"", 0)
        lease.release()
        count += 1
    writer.cancel()
    assert count > 1
    return count


@contextmanager
def needs_of(scene: Scene) -> Iterator[raw.Raw]:
    words = raw.Raw(scene.directory, scene.layout)
    yield words
    words.close()


def in_need(words: raw.Raw) -> bool:
    """Say whether anybody asks for a block."""
    return words.peek(words.places.node_words) != 0


def until(scene: Scene, *, asked: bool) -> None:
    with needs_of(scene) as words:
        while in_need(words) is not asked:
            time.sleep(0.002)


def test_the_need_stays_while_a_second_writer_waits(make_scene: MakeScene) -> None:
    scene = crowded(make_scene)
    fill(scene)
    first, second = scene.writer("a"), scene.writer("b")
    with needs_of(scene) as words:
        assert first.try_send(bytes(PIECE), 0, b"", 0) is None
        assert second.try_send(bytes(PIECE), 0, b"", 0) is None
        assert in_need(words)
        first.cancel()
        assert in_need(words), "the second one still waits"
        second.cancel()
        assert not in_need(words)


def test_a_repeated_try_is_one_need(make_scene: MakeScene) -> None:
    scene = crowded(make_scene)
    fill(scene)
    with needs_of(scene) as words:
        for _ in range(3):
            assert scene.writer("a").try_send(bytes(PIECE), 0, b"", 0) is None
            assert scene.writer("b").try_loan(PIECE) is None
        scene.writer("a").cancel()
        scene.writer("b").cancel()
        assert not in_need(words)


def test_a_loan_that_came_after_all_ends_the_need(make_scene: MakeScene) -> None:
    scene = crowded(make_scene)
    fill(scene)
    writer = scene.writer("b")
    with needs_of(scene) as words:
        assert writer.try_loan(PIECE) is None
        assert in_need(words)
        drain(scene.reader("late"))
        assert writer.try_loan(PIECE) is not None
        assert not in_need(words), "nobody need drop anything any more"


def test_a_need_ends_with_its_writer_and_with_its_arena(make_scene: MakeScene) -> None:
    scene = crowded(make_scene)
    fill(scene)
    with needs_of(scene) as words:
        writer = scene.arena("host").writer(["b"])
        assert writer.try_loan(PIECE) is None
        del writer
        assert not in_need(words)
        assert scene.writer("b").try_loan(PIECE) is None
        assert in_need(words)
        scene.leave("host")
        assert not in_need(words)


def test_whoever_sleeps_helps_every_thread_that_waits_for_a_block(make_scene: MakeScene) -> None:
    """The first that is served must not take the others' need with it: nothing but the sleeping middle can help them."""
    scene = crowded(make_scene)
    count = fill(scene)
    middle, sent = scene.arena("middle"), list[str]()

    def send(writer: Writer, name: str) -> None:
        put(writer, bytes(PIECE))
        sent.append(name)

    senders = [threading.Thread(target=send, args=(scene.writer(name), name)) for name in ("a", "b")]
    for reader in (scene.reader("a"), scene.reader("b")):
        reader.wanted = False  # middle waits for neither: it wakes only because it is asked
    asleep = threading.Thread(target=middle.wait)
    asleep.start()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert sorted(sent) == ["a", "b"]
    middle.wake()
    asleep.join()
    with needs_of(scene) as words:
        assert not in_need(words)
    assert scene.dropped("late") == {"heap_full": 2}
    assert scene.channel_stats("late").current_occupancy == count - 2


@pytest.mark.parametrize("piece", [5000, 9000])
def test_many_small_messages_make_way_for_a_large_one(make_scene: MakeScene, piece: int) -> None:
    """Each helper drops up to one block and sleeps again, so whoever got too little asks again."""
    scene = crowded(make_scene, capacity=30)
    count = fill(scene, piece)
    middle = scene.arena("middle")
    scene.reader("a").wanted = False
    asleep = threading.Thread(target=middle.wait)
    asleep.start()
    sender = threading.Thread(target=put, args=(scene.writer("b"), bytes(PIECE)))
    sender.start()
    sender.join()
    middle.wake()
    asleep.join()
    lost = scene.dropped("late")["heap_full"]
    assert 1 <= lost <= count
    assert len(drain(scene.reader("late"))) == count - lost


def test_a_need_that_was_there_before_the_sleep_is_seen(make_scene: MakeScene) -> None:
    scene = crowded(make_scene)
    fill(scene)
    sender = threading.Thread(target=put, args=(scene.writer("b"), bytes(PIECE)))
    sender.start()
    until(scene, asked=True)
    scene.reader("a").wanted = False
    asleep = threading.Thread(target=scene.arena("middle").wait)
    asleep.start()
    sender.join()
    scene.arena("middle").wake()
    asleep.join()
    assert scene.dropped("late") == {"heap_full": 1}
