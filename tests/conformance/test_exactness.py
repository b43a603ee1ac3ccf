"""Counts that add up at every moment, blocks that are shared and not copied, and misuse by threads that stays harmless."""

from __future__ import annotations

import math
import threading
import time
from itertools import pairwise

import pytest

from ringline.errors import ArenaError, LeaseReleasedError
from ringline.graph.layout import Overflow
from ringline.names import HOST
from ringline.shm import ArenaView, Loan, Writer
from tests.conformance import raw
from tests.conformance.conftest import MakeScene
from tests.conformance.raw import Raw
from tests.conformance.scene import Scene, blocks_in_use, channel, drain, get, put

DROPPING: tuple[Overflow, ...] = ("drop_oldest", "drop_newest", "latest", "deadline")


def lines(*policies: Overflow, capacity: int = 2) -> list[object]:
    """One channel from the host to a node of its own for each policy."""
    return [
        channel(f"c{i}", HOST, f"n{i}", 1 if policy == "latest" else capacity, policy, deadline_ms=600_000)
        for i, policy in enumerate(policies)
    ]


def every_block(readers: int) -> list[object]:
    policies: list[Overflow] = ["block"] * readers
    return lines(*policies)


# ---- one block for all ----


@pytest.mark.parametrize("readers", [2, 5, 20])
@pytest.mark.parametrize("meta", [0, 600])
def test_every_reader_of_a_fan_out_sees_one_block_which_the_last_release_frees(
    make_scene: MakeScene, readers: int, meta: int
) -> None:
    scene = make_scene(*every_block(readers))
    names = [f"c{i}" for i in range(readers)]
    scene.writer(*names).send(b"shared", 0, bytes(meta), 0)
    leases = [get(scene.reader(name)) for name in names]
    assert {lease.address for lease in leases} == {leases[0].address}
    in_use = [blocks_in_use(scene.directory, scene.layout)]
    for lease in reversed(leases):
        lease.release()
        in_use.append(blocks_in_use(scene.directory, scene.layout))
    assert in_use == [1 + (meta > 512)] * readers + [0]
    assert [scene.channel_stats(name).copies for name in names] == [1] * readers


def test_a_chain_of_forwards_keeps_the_address_and_copies_nothing(make_scene: MakeScene) -> None:
    nodes = [HOST, "n0", "n1", "n2", "n3", HOST]
    names = [f"c{i}" for i in range(5)]
    scene = make_scene(*(channel(name, nodes[i], nodes[i + 1]) for i, name in enumerate(names)))
    loan = scene.writer("c0").loan(5000)
    memoryview(loan)[:] = bytes(range(250)) * 20
    scene.writer("c0").commit(loan, 0, b"", 0)
    for here, there in pairwise(names):
        lease = get(scene.reader(here))
        assert lease.address == loan.address
        scene.writer(there).forward(lease, 0, here.encode() * 300, 0)
        lease.release()
    last = get(scene.reader("c4"))
    assert (last.address, bytes(last), last.meta) == (loan.address, bytes(range(250)) * 20, b"c3" * 300)
    assert sum(scene.channel_stats(name).copies for name in names) == 0
    last.release()
    assert blocks_in_use(scene.directory, scene.layout) == 0


@pytest.mark.parametrize("policy", DROPPING)
@pytest.mark.parametrize("meta", [513, 1024, 4096, 65536])
def test_a_dropped_message_takes_its_metadata_block_with_it(make_scene: MakeScene, policy: Overflow, meta: int) -> None:
    scene = make_scene(*lines(policy), message=1 << 20)
    for i in range(12):
        scene.writer("c0").send(bytes([i]), i, bytes([i]) * meta, i)
    left = scene.channel_stats("c0").current_occupancy
    assert blocks_in_use(scene.directory, scene.layout) == 2 * left
    while (lease := scene.reader("c0").next()) is not None:
        assert (bytes(lease), lease.meta) == (bytes([lease.kind]), bytes([lease.kind]) * meta)
        lease.release()
    assert blocks_in_use(scene.directory, scene.layout) == 0


@pytest.mark.parametrize("policy", DROPPING)
def test_a_mixed_fan_out_drops_for_each_reader_by_its_own_policy(make_scene: MakeScene, policy: Overflow) -> None:
    scene = make_scene(*lines("block", policy, capacity=3), channel("wide", HOST, "n9", 9))
    writer = scene.writer("c0", "c1", "wide")
    for i in range(9):
        put(writer, str(i))
        drain(scene.reader("c0"))
    kept = {"drop_newest": ["0", "1", "2"], "latest": ["8"]}.get(policy, ["6", "7", "8"])
    assert (drain(scene.reader("c1")), drain(scene.reader("wide"))) == (kept, [str(i) for i in range(9)])
    assert sum(scene.dropped("c1").values()) == 9 - len(kept)
    assert (scene.dropped("c0"), scene.dropped("wide"), blocks_in_use(scene.directory, scene.layout)) == ({}, {}, 0)


# ---- counts ----


def test_a_refused_newest_message_is_counted_once_however_often_its_sender_tries(make_scene: MakeScene) -> None:
    """The forward must copy, for the slow channel has the block already; there is no room to copy; it is tried again."""
    scene = make_scene(
        channel("in", HOST, "node"),
        channel("slow", "node", "one", 2),
        channel("picky", "node", "two", 1, "drop_newest"),
        message=65536,
    )
    writer = scene.writer("slow", "picky")
    put(scene.writer("in"), bytes(65536))
    lease = get(scene.reader("in"))
    assert writer.forward(lease, 0, b"", 0)
    loans = [writer.try_loan(65536) for _ in range(3)]
    assert None not in loans
    for _ in range(5):
        assert writer.try_forward(lease, 0, b"", 0) is None
    assert scene.dropped("picky") == {}
    loans.clear()
    assert writer.try_forward(lease, 0, b"", 0) is True
    assert (scene.dropped("picky"), scene.channel_stats("picky").copies) == ({"newest": 1}, 0)


def test_a_message_without_a_block_is_counted_once_for_one_reason(make_scene: MakeScene) -> None:
    """The forward must copy, for the first channel's reader still holds the block; the second channel is full."""
    scene = make_scene(
        channel("in", HOST, "node"),
        channel("old", "node", "one", 2, "drop_oldest"),
        channel("picky", "node", "two", 1, "drop_newest"),
        message=65536,
    )
    writer = scene.writer("old", "picky")
    put(scene.writer("in"), bytes(65536))
    lease = get(scene.reader("in"))
    assert writer.forward(lease, 0, b"", 0)
    held = get(scene.reader("old"))
    loans = [writer.loan(65536) for _ in range(3)]
    assert writer.try_forward(lease, 0, b"", 0) is False
    assert (scene.dropped("old"), scene.dropped("picky")) == ({"heap_full": 1}, {"heap_full": 1})
    assert (len(loans), held.released) == (3, False)


@pytest.mark.parametrize("policy", ["block", "drop_oldest", "latest"])
def test_head_is_taken_and_dropped_and_queued_whenever_somebody_looks(make_scene: MakeScene, policy: Overflow) -> None:
    """The tail is read before the head, so what a look sees as queued may only be too much by what came in between."""
    scene = make_scene(*lines(policy))
    words, reader, writer = Raw(scene.directory, scene.layout), scene.reader("c0"), scene.writer("c0")
    thread = threading.Thread(target=lambda: [put(writer, b"x") for _ in range(2000)])
    taken, before = 0, 0
    thread.start()
    while thread.is_alive() or scene.channel_stats("c0").current_occupancy:
        head, tail = words.peek(words.channel("c0", raw.HEAD)), words.peek(words.channel("c0", raw.TAIL))
        assert before <= head <= 2000
        assert tail >> 32 == taken
        before = head
        taken += len(drain(reader))
    thread.join()
    tail = words.peek(words.channel("c0", raw.TAIL))
    dropped = sum(scene.channel_stats("c0").dropped.values())
    assert (tail >> 32, tail & raw.NO_BLOCK, taken + dropped) == (taken, dropped, 2000)
    words.close()


def test_blocked_time_is_the_time_of_the_wait_and_of_nothing_else(make_scene: MakeScene) -> None:
    scene = make_scene(*lines("block", "block", capacity=1))
    writer, reader = scene.writer("c0", "c1"), scene.reader("c0")
    put(writer, b"1")
    drain(scene.reader("c1"))
    thread = threading.Timer(0.05, drain, (reader,))
    start = time.monotonic()
    thread.start()
    put(writer, b"2")
    elapsed = time.monotonic() - start
    thread.join()
    assert 0 < scene.channel_stats("c0").blocked_seconds <= elapsed
    assert scene.channel_stats("c1").blocked_seconds == 0


def test_a_try_that_is_repeated_counts_its_blocked_time_once(make_scene: MakeScene) -> None:
    scene = make_scene(*lines("block", capacity=1))
    writer = scene.writer("c0")
    put(writer, b"1")
    start = time.monotonic()
    for _ in range(10):
        assert writer.try_send(b"2", 0, b"", 0) is None
        time.sleep(0.002)
    drain(scene.reader("c0"))
    assert writer.try_send(b"2", 0, b"", 0) is True
    elapsed = time.monotonic() - start
    assert 0.02 <= scene.channel_stats("c0").blocked_seconds <= elapsed


@pytest.mark.parametrize("seconds", [math.inf, math.nan, -math.inf, 1e300, -0.0])
def test_a_latency_that_is_no_time_is_counted_at_a_border(make_scene: MakeScene, seconds: float) -> None:
    scene = make_scene(*lines("block"))
    scene.host.observe(seconds)
    latency = scene.node_stats(HOST).latency
    assert latency.counts[31 if seconds > 0 else 0] == latency.count == 1
    assert 0 <= latency.sum_seconds <= 1e9


def test_a_view_and_the_host_count_alike(make_scene: MakeScene) -> None:
    scene = make_scene(*lines("block", *DROPPING))
    writer = scene.writer(*(f"c{i}" for i in range(1, 5)))
    for i in range(7):
        writer.send(bytes(i), 0, bytes(100 * i), 0)
    with ArenaView.open(scene.directory) as view:
        assert view.channel_stats() == scene.host.channel_stats()
        assert view.node_stats() == scene.host.node_stats()


# ---- a loan in two threads ----


def blocked_commit(scene: Scene, loan: Loan, answers: list[bool]) -> threading.Thread:
    """Commit to a full channel in a thread that waits for room by now."""
    writer: Writer = scene.writer("c0")
    thread = threading.Thread(target=lambda: answers.append(writer.commit(loan, 0, b"", 0)))
    thread.start()
    while scene.channel_stats("c0").blocked_seconds == 0:
        time.sleep(0.001)
    return thread


def test_a_loan_that_is_being_committed_cannot_be_discarded_and_reused(make_scene: MakeScene) -> None:
    scene = make_scene(*lines("block", capacity=1), channel("other", HOST, "n9"))
    loan, answers = scene.writer("c0").loan(100), list[bool]()
    memoryview(loan)[:] = b"k" * 100
    put(scene.writer("c0"), b"first")
    thread = blocked_commit(scene, loan, answers)
    loan.discard()
    for _ in range(3):
        put(scene.writer("other"), b"w" * 100)
    assert drain(scene.reader("c0")) == ["first"]
    thread.join()
    assert (answers, drain(scene.reader("c0"))) == ([True], ["k" * 100])


def test_a_loan_that_is_being_committed_cannot_be_committed_again(make_scene: MakeScene) -> None:
    scene = make_scene(*lines("block", capacity=1), channel("other", HOST, "n9"))
    loan, answers = scene.writer("c0").loan(100), list[bool]()
    put(scene.writer("c0"), b"first")
    thread = blocked_commit(scene, loan, answers)
    with pytest.raises(ValueError, match="committed or discarded already"):
        scene.writer("other").commit(loan, 0, b"", 0)
    with pytest.raises(LeaseReleasedError):
        memoryview(loan)
    drain(scene.reader("c0"))
    thread.join()
    assert (answers, scene.channel_stats("other").message_count) == ([True], 0)


def test_a_loan_whose_commit_failed_is_still_its_owners(make_scene: MakeScene) -> None:
    scene = make_scene(*lines("block", capacity=1))
    writer, loan = scene.writer("c0"), scene.writer("c0").loan(4)
    put(writer, b"first")
    with pytest.raises(Exception, match="at capacity"):
        writer.commit(loan, 0, b"", 0, timeout_s=0.001)
    memoryview(loan)[:] = b"kept"
    drain(scene.reader("c0"))
    assert (loan.spent, writer.commit(loan, 0, b"", 0), drain(scene.reader("c0"))) == (False, True, ["kept"])


def test_closing_while_a_commit_waits_ends_it(make_scene: MakeScene) -> None:
    scene = make_scene(channel("c0", "n0", HOST, 1))
    writer = scene.writer("c0")
    loan, failures = writer.loan(4), list[BaseException]()
    put(writer, b"first")

    def commit() -> None:
        with pytest.raises(ArenaError, match="closed") as failure:
            writer.commit(loan, 0, b"", 0)
        failures.append(failure.value)

    thread = threading.Thread(target=commit)
    thread.start()
    while scene.channel_stats("c0").blocked_seconds == 0:
        time.sleep(0.001)
    scene.leave("n0")
    thread.join()
    assert len(failures) == 1
    assert scene.host.reclaim("n0", keep_queue=True)
    assert drain(scene.reader("c0")) == ["first"]
