"""Memory is bounded whatever readers and writers do: a slow reader, a hoarder, a heap in pieces, a full arena.

What each overflow policy does then is the table in docs/shared-memory.md; every row of it is a test here.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ringline.errors import ChannelFullError, LeaseQuotaError, ResourceLimitError
from ringline.graph.layout import HELD_BEYOND_CAPACITY, MAX_METADATA_BYTES, ChannelPlan, Overflow
from ringline.shm import Lease
from tests.conformance.conftest import MakeScene
from tests.conformance.scene import MIB, Scene, blocks_in_use, channel, get, layout_of

POLICIES: tuple[Overflow, ...] = ("block", "drop_oldest", "drop_newest", "latest", "deadline")
EVERY = pytest.mark.parametrize("overflow", POLICIES)
SMALL, LARGE = 960, 10 * MIB


def scene_of(make_scene: MakeScene, overflow: Overflow, capacity: int = 4, **sizes: int) -> Scene:
    capacity = 1 if overflow == "latest" else capacity
    return make_scene(channel("a", capacity=capacity, overflow=overflow, deadline_ms=600_000), **sizes)


def number(lease: Lease) -> int:
    return int.from_bytes(bytes(lease)[:4], "little")


def body(value: int, size: int) -> bytes:
    return value.to_bytes(4, "little") + bytes(size - 4)


# ---- a slow reader ----


@EVERY
def test_a_slow_reader_costs_at_most_its_capacity_and_every_message_is_accounted_for(
    make_scene: MakeScene, overflow: Overflow
) -> None:
    scene = scene_of(make_scene, overflow)
    writer, reader, capacity = scene.writer("a"), scene.reader("a"), scene.layout.channels[0].capacity
    arena_bytes = (scene.directory / "arena").stat().st_size
    sent, refused, taken = 0, 0, list[int]()
    for value in range(500):
        answer = writer.try_send(body(value, 20_000), 0, b"", 0)
        sent += answer is True
        refused += answer is None
        assert scene.channel_stats("a").current_occupancy <= capacity
        assert scene.node_stats("@host").heap_used_bytes <= (capacity + 2) * 20_032
        if value % 10 == 9:
            lease = get(reader)
            taken.append(number(lease))
            lease.release()
    writer.cancel()
    assert taken == sorted(set(taken))
    dropped = sum(scene.dropped("a").values())
    assert {"block": refused, "drop_newest": 500 - sent}.get(overflow, dropped) >= 440
    assert (refused > 0) is (overflow == "block")
    queued = scene.channel_stats("a").current_occupancy
    assert len(taken) + queued + refused + dropped == 500
    assert (scene.directory / "arena").stat().st_size == arena_bytes


def test_a_slow_reader_sees_old_or_new_messages_by_the_policy(make_scene: MakeScene) -> None:
    first: dict[str, int] = {}
    for overflow in ("drop_oldest", "drop_newest", "latest", "deadline"):
        scene = scene_of(make_scene, overflow)
        for value in range(100):
            scene.writer("a").try_send(body(value, SMALL), 0, b"", 0)
        lease = get(scene.reader("a"))
        first[overflow] = number(lease)
        lease.release()
        scene.close()
        for path in scene.directory.iterdir():
            path.unlink()
        scene.directory.rmdir()
    assert first == {"drop_oldest": 96, "drop_newest": 0, "latest": 99, "deadline": 96}


# ---- a reader that holds a thousand ----


@EVERY
def test_a_hoarder_gets_its_quota_and_then_a_sentence_that_says_what_to_do(
    make_scene: MakeScene, overflow: Overflow
) -> None:
    scene = scene_of(make_scene, overflow, capacity=1000)
    writer, reader = scene.writer("a"), scene.reader("a")
    quota = scene.layout.channels[0].capacity + HELD_BEYOND_CAPACITY
    held = []
    for value in range(quota):
        assert writer.try_send(body(value, 64), 0, b"", 0) is True
        held.append(get(reader))
    assert reader.next() is None, "nothing is queued: there is nothing to complain of"
    assert writer.try_send(body(quota, 64), 0, b"", 0) is True
    with pytest.raises(LeaseQuotaError) as refusal:
        reader.next()
    assert f"holds {quota} messages" in str(refusal.value)
    assert "release() those that are done with, copy() those that are kept" in str(refusal.value)
    assert [number(lease) for lease in held] == list(range(quota)), "what is held is never touched"
    held.pop(0).release()
    assert number(get(reader)) == quota
    assert reader.held == quota - 1


def test_a_thousand_leases_of_one_reader_leave_the_other_branch_alone(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", consumer="hoards", capacity=1000), channel("b", consumer="reads", capacity=2))
    writer, held = scene.writer("a", "b"), []
    for value in range(1000):
        assert writer.try_send(body(value, 64), 0, b"", 0) is True
        held.append(get(scene.reader("a")))
        lease = get(scene.reader("b"))
        assert number(lease) == value
        lease.release()
    assert scene.reader("a").held == 1000
    assert blocks_in_use(scene.directory, scene.layout) == 1000
    for lease in held:
        lease.release()
    assert blocks_in_use(scene.directory, scene.layout) == 0


@EVERY
def test_a_hoarder_of_all_memory_stops_a_blocking_writer_and_costs_a_dropping_one_its_new_messages(
    make_scene: MakeScene, overflow: Overflow
) -> None:
    scene = scene_of(make_scene, overflow, capacity=8, message=100_000)
    writer, reader, held = scene.writer("a"), scene.reader("a"), []
    while writer.try_send(bytes(90_000), 0, b"", 0) is True:
        held.append(get(reader))
    assert len(held) == 2, "a heap holds two of the largest messages"
    if overflow == "block":
        writer.cancel()
        with pytest.raises(
            ChannelFullError, match=r"heap of node '@host' is full of messages that others hold; release them sooner"
        ):
            writer.send(bytes(90_000), 0, b"", 0, timeout_s=0.01)
        assert scene.dropped("a") == {}
    else:
        assert scene.dropped("a") == {"heap_full": 1}
    held.pop().release()
    assert writer.try_send(bytes(90_000), 0, b"", 0) is True


# ---- a heap in pieces ----


@pytest.mark.parametrize("seed", range(3))
@EVERY
def test_mixed_sizes_never_wedge_a_heap(make_scene: MakeScene, overflow: Overflow, seed: int) -> None:
    scene = scene_of(make_scene, overflow, capacity=24, message=LARGE)
    writer, reader = scene.writer("a"), scene.reader("a")
    chance, held, delivered = random.Random(seed), list[Lease](), {SMALL: 0, LARGE: 0}
    payloads = {SMALL: bytes(SMALL), LARGE: bytes(LARGE)}
    for _ in range(150):
        size = SMALL if chance.random() < 0.8 else LARGE
        if writer.try_send(payloads[size], 0, b"", 0) is None:
            writer.cancel()
        while chance.random() < 0.6 and (lease := reader.next() if reader.held < 24 else None) is not None:
            delivered[lease.nbytes] += 1
            held.append(lease)
        while held and (chance.random() < 0.5 or sum(lease.nbytes for lease in held) > LARGE):
            held.pop(chance.randrange(len(held))).release()
        used = scene.node_stats("@host")
        assert used.heap_used_bytes <= used.heap_bytes
    assert min(delivered.values()) > 0
    for lease in held:
        lease.release()
    held.clear()
    while (lease := reader.next()) is not None:
        lease.release()
    assert blocks_in_use(scene.directory, scene.layout) == 0
    del lease
    whole = [writer.try_loan(LARGE), writer.try_loan(LARGE)]
    assert None not in whole, "free neighbours are joined again: both of the largest messages fit"


def test_a_small_message_held_in_the_middle_keeps_a_large_one_waiting_until_it_is_released(
    make_scene: MakeScene,
) -> None:
    scene = scene_of(make_scene, "block", capacity=24, message=LARGE)
    writer, reader = scene.writer("a"), scene.reader("a")
    fillers = [writer.loan(7 * MIB), writer.loan(SMALL), writer.loan(7 * MIB)]
    writer.try_commit(fillers[1], 0, b"", 0)
    small = get(reader)
    fillers[0].discard()
    fillers[2].discard()
    first = writer.try_loan(LARGE)
    assert first is not None, "behind the small one there is room"
    used = scene.node_stats("@host")
    assert used.heap_bytes - used.heap_used_bytes > LARGE, "there is enough left for another, in two pieces"
    assert writer.try_loan(LARGE) is None
    writer.cancel()
    first.discard()
    small.release()
    assert [writer.try_loan(LARGE) is None for _ in range(2)] == [False, False]


# ---- an arena at its ceiling ----


def test_heaps_that_fill_the_ceiling_exactly_serve_one_largest_message_each(make_scene: MakeScene) -> None:
    ends = [channel("a", "@host", "one"), channel("b", "one", "two"), channel("c", "two", "@host")]
    least = next(size for size in range(3 * MIB, 8 * MIB, 4096) if fits(ends, size))
    scene = make_scene(*ends, message=MIB, shm=least)
    assert least - 4 * 4096 < scene.layout.size_bytes <= least
    assert (scene.directory / "arena").stat().st_size == scene.layout.size_bytes
    for name in "abc":
        writer = scene.writer(name)
        assert writer.try_send(bytes(MIB), 0, bytes(MAX_METADATA_BYTES), 0) is True
        assert writer.try_send(bytes(MIB), 0, b"", 0) is None, "the heap is full: the writer waits"
        writer.cancel()
    for name in "abc":
        lease = get(scene.reader(name))
        assert (lease.nbytes, len(lease.meta)) == (MIB, MAX_METADATA_BYTES)
        lease.release()
    for name in "abc":
        assert scene.writer(name).try_send(bytes(MIB), 0, b"", 0) is True


def fits(ends: list[ChannelPlan], size: int) -> bool:
    try:
        layout_of(*ends, message=MIB, shm=size)
    except ResourceLimitError:
        return False
    return True


def test_a_ceiling_below_one_largest_message_each_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ResourceLimitError, match=r"shmSize 2097152 is too small: 3 heaps.*raise shmSize"):
        layout_of(
            channel("a", "@host", "one"),
            channel("b", "one", "two"),
            channel("c", "two", "@host"),
            message=MIB,
            shm=2 * MIB,
        )
    assert list(tmp_path.iterdir()) == []


@EVERY
def test_at_the_ceiling_a_channel_goes_on_as_its_policy_says(make_scene: MakeScene, overflow: Overflow) -> None:
    ends = [channel("a", capacity=1 if overflow == "latest" else 4, overflow=overflow, deadline_ms=600_000)]
    least = next(size for size in range(MIB, 4 * MIB, 4096) if fits(ends, size))
    scene = make_scene(*ends, message=MIB, shm=least)
    writer, reader = scene.writer("a"), scene.reader("a")
    answers = [writer.try_send(body(value, MIB), 0, b"", 0) for value in range(6)]
    writer.cancel()
    lease = get(reader)
    if overflow == "block":
        assert (answers, number(lease), scene.dropped("a")) == ([True, *[None] * 5], 0, {})
    elif overflow == "drop_newest":
        assert (answers, number(lease), scene.dropped("a")) == ([True, *[False] * 5], 0, {"heap_full": 5})
    else:
        assert (answers, number(lease)) == ([True] * 6, 5)
        assert sum(scene.dropped("a").values()) == 5
    lease.release()
    assert writer.try_send(body(9, MIB), 0, b"", 0) is True
