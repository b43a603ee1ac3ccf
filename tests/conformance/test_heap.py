"""Blocks: where they come from, when they come back, and what happens when there is none."""

from __future__ import annotations

import random
import threading

import pytest

from ringline.errors import ArenaError, ChannelFullError
from ringline.shm import Lease
from tests.conformance.conftest import MakeScene
from tests.conformance.scene import MIB, blocks_in_use, channel, drain, get, put


def test_a_ping_pong_uses_the_same_block_again(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    addresses = set()
    for _ in range(20):
        put(scene.writer("a"), bytes(5000))
        lease = get(scene.reader("a"))
        addresses.add(lease.address)
        lease.release()
    assert len(addresses) == 1


def test_memory_of_small_blocks_serves_a_large_one(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=64), message=MIB)
    for _ in range(3):
        for _ in range(60):
            put(scene.writer("a"), bytes(20_000))
        drain(scene.reader("a"))
        for _ in range(2):
            assert put(scene.writer("a"), bytes(MIB))
        drain(scene.reader("a"))


@pytest.mark.parametrize("seed", range(5))
def test_blocks_never_overlap_whatever_is_held_and_released(make_scene: MakeScene, seed: int) -> None:
    scene = make_scene(channel("a", capacity=32), message=256 << 10)
    chance, held = random.Random(seed), list[tuple[Lease, bytes]]()
    for turn in range(600):
        if chance.random() < 0.55 and len(held) < 30:
            body = bytes([turn % 256]) * int(chance.paretovariate(0.6) * 40 % 60_000)
            if scene.writer("a").try_send(body, 0, body[:2000], 0):
                held.append((get(scene.reader("a")), body))
        elif held:
            lease, body = held.pop(chance.randrange(len(held)))
            assert bytes(lease) == body
            lease.release()
    assert all(bytes(lease) == body and lease.meta == body[:2000] for lease, body in held)
    for lease, _ in held:
        lease.release()
    assert blocks_in_use(scene.directory, scene.layout) == 0


def test_a_full_heap_makes_the_sender_wait_for_a_release(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=8), message=100_000)
    writer, reader = scene.writer("a"), scene.reader("a")
    put(writer, bytes(100_000))
    put(writer, bytes(100_000))
    held = [get(reader), get(reader)]
    assert writer.try_send(bytes(90_000), 0, b"", 0) is None
    with pytest.raises(ChannelFullError, match="heap of node '@host' is full"):
        writer.send(bytes(90_000), 0, b"", 0, timeout_s=0.01)
    thread = threading.Thread(target=put, args=(writer, bytes(90_000)))
    thread.start()
    held.pop().release()
    thread.join()
    assert get(reader).nbytes == 90_000


def test_a_waiting_sender_is_told_when_a_block_is_free(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=8), message=100_000)
    writer, reader = scene.writer("a"), scene.reader("a")
    put(writer, bytes(100_000))
    put(writer, bytes(100_000))
    held = [get(reader), get(reader)]
    assert writer.try_loan(90_000) is None
    assert scene.host.wait(0) is False
    held.pop().release()
    assert scene.host.wait(5) is True
    assert writer.try_loan(90_000) is not None


def test_a_full_heap_drops_the_oldest_of_its_dropping_channels(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=8, overflow="drop_oldest"), message=100_000)
    for i in range(4):
        assert put(scene.writer("a"), bytes([i]) * 90_000)
    assert [text[0] for text in drain(scene.reader("a"))] == ["\2", "\3"]
    assert scene.dropped("a") == {"heap_full": 2}


def test_a_full_heap_of_held_blocks_drops_the_new_message_of_a_dropping_channel(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=8, overflow="drop_oldest"), message=100_000)
    put(scene.writer("a"), bytes(100_000))
    put(scene.writer("a"), bytes(100_000))
    held = [get(scene.reader("a")), get(scene.reader("a"))]
    assert put(scene.writer("a"), bytes(90_000)) is False
    assert (scene.dropped("a"), len(held)) == ({"heap_full": 1}, 2)
    with pytest.raises(ChannelFullError, match="no block of 90000 bytes"):
        scene.writer("a").loan(90_000)


def test_a_node_that_forwards_gives_up_old_messages_for_one_in_need(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=8), channel("b", "node", "@host", 8, "drop_oldest"), message=100_000)
    for i in range(2):
        put(scene.writer("a"), bytes([i]) * 100_000)
        lease = get(scene.reader("a"))
        scene.writer("b").forward(lease, 0, b"", 0)
        lease.release()
    assert scene.writer("a").try_send(bytes(90_000), 0, b"", 0) is None
    assert scene.arena("node").wait(0) is False
    assert scene.arena("node").wait(0.01) is False
    assert scene.dropped("b") == {"heap_full": 1}
    assert scene.writer("a").try_send(bytes(90_000), 0, b"", 0) is True


def test_a_node_without_outputs_has_no_heap(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    assert scene.node_stats("node").heap_bytes == 0
    with pytest.raises(ArenaError, match="no heap"):
        scene.arena("node").writer([]).loan(10)


def test_the_block_table_may_run_out_before_the_heap_does(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=1))
    loans = []
    while (loan := scene.writer("a").try_loan(1)) is not None:
        loans.append(loan)
    assert len(loans) == scene.layout.nodes[-1].blocks
    loans.pop().discard()
    assert scene.writer("a").try_loan(1) is not None


def test_the_heap_in_use_can_be_seen_from_outside(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    loan = scene.writer("a").loan(1000)
    assert scene.node_stats("@host").heap_used_bytes == 1024
    loan.discard()
    assert scene.node_stats("@host").heap_used_bytes == 0
