"""A hostile neighbour, row by row: what it may write, swap, truncate, hold or ring, and what everybody else sees of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringline.errors import ArenaError, Fenced, LeaseReleasedError, MessageTooLargeError, RingCorruptError
from ringline.graph.layout import CHANNEL_INFO_BYTES, HEADER_BYTES, NODE_INFO_BYTES
from ringline.names import ARENA_FILE, HOST, LOCK_FILE
from ringline.shm import Arena, ArenaView, host_alive
from tests.conformance import raw
from tests.conformance.conftest import MakeScene
from tests.conformance.raw import Raw
from tests.conformance.scene import Scene, channel, drain, get, layout_of, put

MANY = (1 << 32) - 1


@pytest.fixture
def scene(make_scene: MakeScene) -> Scene:
    return make_scene(channel("a", capacity=3), channel("b", "node", HOST, 3))


@pytest.fixture
def words(scene: Scene) -> Iterator[Raw]:
    opened = Raw(scene.directory, scene.layout)
    yield opened
    opened.close()


# ---- an index beyond the capacity ----


@pytest.mark.parametrize("more", [4, 5, 64, 1 << 31, MANY - 1])
def test_a_head_further_ahead_than_the_ring_is_long_is_refused(scene: Scene, words: Raw, more: int) -> None:
    put(scene.writer("a"), "x")
    words.poke(words.channel("a", raw.HEAD), 1 + more)
    with pytest.raises(RingCorruptError):
        scene.reader("a").next()
    assert scene.channel_stats("a").current_occupancy <= 3


@pytest.mark.parametrize("tail", [1 << 32, 5 << 32, MANY << 32, 1, 1 << 31])
def test_a_writer_meets_a_tail_that_ran_past_the_head(scene: Scene, words: Raw, tail: int) -> None:
    """It may refuse to go on or see the channel full, but it never writes a slot twice."""
    words.poke(words.channel("a", raw.TAIL), tail)
    answer = scene.writer("a").try_send(b"x", 0, b"", 0)
    assert answer in {True, None}
    assert words.peek(words.channel("a", raw.HEAD)) == (answer is True)


@pytest.mark.parametrize("block", [-1, MANY - 1, 1 << 31])
def test_a_block_number_outside_every_table_is_refused(scene: Scene, words: Raw, block: int) -> None:
    put(scene.writer("a"), "x")
    words.poke(words.slot("a", 0, raw.W0), block & MANY)
    with pytest.raises(RingCorruptError):
        scene.reader("a").next()


@pytest.mark.parametrize("block", [MANY - 1, MANY])
def test_a_dropping_writer_refuses_a_poisoned_oldest_message(make_scene: MakeScene, block: int) -> None:
    scene = make_scene(channel("a", capacity=1, overflow="latest"))
    words = Raw(scene.directory, scene.layout)
    put(scene.writer("a"), "x")
    words.poke(words.slot("a", 0, raw.W0), block)
    with pytest.raises(RingCorruptError):
        scene.writer("a").try_send(b"y", 0, b"", 0)
    assert words.peek(words.node(HOST, raw.GATE)) & MANY == raw.OPEN
    words.close()


# ---- a length beyond the block ----


@pytest.mark.parametrize("length", [65, 4096, 1 << 20, MANY])
def test_a_payload_may_not_reach_beyond_its_block(scene: Scene, words: Raw, length: int) -> None:
    put(scene.writer("a"), bytes(64))
    at = words.slot("a", 0, raw.EXTENT)
    words.poke(at, words.peek(at) >> 32 << 32 | length)
    with pytest.raises(RingCorruptError):
        scene.reader("a").next()


@pytest.mark.parametrize("shift", [-64, -1, 1, 64, 1 << 16])
def test_a_payload_may_not_lie_outside_its_block(scene: Scene, words: Raw, shift: int) -> None:
    put(scene.writer("a"), bytes(64))
    at = words.slot("a", 0, raw.EXTENT)
    words.poke(at, words.peek(at) + (shift << 32))
    with pytest.raises(RingCorruptError):
        scene.reader("a").next()


@pytest.mark.parametrize("length", [0, 512, 65537, MANY])
def test_metadata_in_a_block_of_its_own_has_bounds_too(scene: Scene, words: Raw, length: int) -> None:
    scene.writer("a").send(b"x", 0, bytes(600), 0)
    words.poke(words.slot("a", 0, raw.SHAPE), length)
    with pytest.raises(RingCorruptError):
        scene.reader("a").next()


def test_metadata_may_not_be_longer_than_its_block(scene: Scene, words: Raw) -> None:
    scene.writer("a").send(b"x", 0, bytes(600), 0)
    words.poke(words.slot("a", 0, raw.SHAPE), 641)
    with pytest.raises(RingCorruptError):
        scene.reader("a").next()


@pytest.mark.parametrize(
    ("word", "value"), [(raw.OFFSET, 0), (raw.OFFSET, 1 << 40), (raw.SIZE, 1 << 40), (raw.SIZE, 0)]
)
def test_a_block_entry_that_points_out_of_its_heap_is_refused(scene: Scene, words: Raw, word: int, value: int) -> None:
    put(scene.writer("a"), "x")
    block = words.peek(words.slot("a", 0, raw.W0)) & MANY
    words.poke(words.block(block, word), value)
    with pytest.raises(RingCorruptError):
        scene.reader("a").next()


def test_a_writer_never_trusts_the_table_for_its_own_blocks(scene: Scene, words: Raw) -> None:
    writer, first = scene.writer("a"), scene.layout.nodes[0].blocks
    for turn in range(5):
        loan = writer.loan(100)
        for block in range(first, first + scene.layout.nodes[1].blocks):
            words.poke(words.block(block, raw.OFFSET), turn)
            words.poke(words.block(block, raw.SIZE), raw.WORD)
        memoryview(loan)[:] = bytes([turn]) * 100
        assert words.places.heaps[-1] <= loan.address <= scene.layout.size_bytes - 100
        assert writer.try_commit(loan, 0, b"", 0) is True
        with pytest.raises(RingCorruptError):
            scene.arena("node").reader("a").next()


# ---- a header that changes between check and use ----


def test_whoever_is_attached_uses_its_own_copy_of_the_tables(scene: Scene, words: Raw) -> None:
    scene.writer("a"), scene.reader("a"), scene.writer("b"), scene.reader("b")
    for at in range(8, HEADER_BYTES + 2 * NODE_INFO_BYTES + 2 * CHANNEL_INFO_BYTES, 8):
        words.poke(at, raw.WORD)
    for text in ("1", "2", "3"):
        put(scene.writer("a"), text)
        lease = get(scene.reader("a"))
        scene.writer("b").forward(lease, 0, b"m" * 600, 0)
        lease.release()
    assert drain(scene.reader("b")) == ["1", "2", "3"]
    assert scene.channel_stats("b").capacity == 3
    with pytest.raises(ArenaError):
        ArenaView.open(scene.directory)


def test_a_descriptor_that_changes_after_it_was_taken_changes_nothing(scene: Scene, words: Raw) -> None:
    scene.writer("a").send(b"as checked", 7, b"meta", 5)
    lease = get(scene.reader("a"))
    for word in range(0, 128, 8):
        words.poke(words.slot("a", 0, word), raw.WORD)
    assert (bytes(lease), lease.kind, lease.meta, lease.timestamp) == (b"as checked", 7, b"meta", 5)
    lease.release()
    assert words.blocks_of("a") == 0


# ---- forged epochs and gates ----


@pytest.mark.parametrize("epoch", [0, 2, MANY])
def test_a_forged_epoch_stops_who_runs_and_keeps_out_nobody_else(scene: Scene, words: Raw, epoch: int) -> None:
    put(scene.writer("a"), "x")
    node = scene.arena("node")
    writer, reader = scene.writer("b"), scene.reader("a")
    words.poke(words.node("node", raw.GATE), epoch << 32 | raw.OPEN)
    for use in (lambda: writer.try_send(b"y", 0, b"", 0), reader.next):
        with pytest.raises(Fenced):
            use()
    assert node.wait(0) is True
    scene.leave("node")
    assert scene.host.reclaim("node", keep_queue=True)
    assert (scene.arena("node").epoch, drain(scene.reader("a"))) == (2, ["x"])


def test_a_node_that_is_said_to_be_attached_must_be_reclaimed_first(scene: Scene, words: Raw) -> None:
    words.poke(words.node("node", raw.LIFE), 9 << 32 | 1)
    with pytest.raises(ArenaError, match="was not reclaimed yet"):
        Arena.attach(scene.directory, "node", timeout_s=0.01)
    assert scene.host.lock_held("node") is False
    assert scene.host.reclaim("node", keep_queue=True)
    assert scene.arena("node").epoch == 10


def test_an_epoch_may_wrap(scene: Scene, words: Raw) -> None:
    words.poke(words.node("node", raw.LIFE), MANY << 32 | 1)
    assert scene.host.reclaim("node", keep_queue=True)
    assert put(scene.writer("b"), "after four billion deaths")
    assert (scene.arena("node").epoch, drain(scene.reader("b"))) == (0, ["after four billion deaths"])


def test_a_gate_in_no_known_state_is_refused(scene: Scene, words: Raw) -> None:
    writer = scene.writer("b")
    words.poke(words.node("node", raw.GATE), 1 << 32 | 77)
    with pytest.raises(RingCorruptError):
        writer.try_send(b"x", 0, b"", 0)


def test_a_reclaim_is_set_aside_while_a_live_writer_seems_to_sit_in_its_gate(scene: Scene, words: Raw) -> None:
    scene.reader("a")
    put(scene.writer("a"), "queued")
    scene.leave("node")
    words.poke(words.node(HOST, raw.GATE), 1 << 32 | raw.BUSY)
    assert scene.host.reclaim("node", keep_queue=True) is False
    words.poke(words.node(HOST, raw.GATE), 1 << 32 | raw.OPEN)
    assert scene.host.reclaim("node", keep_queue=True) is True
    assert drain(scene.reader("a")) == ["queued"]


# ---- a lock that is held for ever ----

HOLDER = """
import sys
from pathlib import Path
from ringline.shm.locks import LockHold
hold = LockHold(Path(sys.argv[1]), int(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another(directory: Path, byte: int) -> Iterator[None]:
    command = [sys.executable, "-c", HOLDER, str(directory), str(byte)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate()


def test_a_lock_held_for_ever_keeps_a_node_out_and_unreclaimed_and_nobody_else(scene: Scene) -> None:
    put(scene.writer("a"), "x")
    with held_by_another(scene.directory, 0):
        with pytest.raises(ArenaError, match="'node' is attached already"):
            Arena.attach(scene.directory, "node", timeout_s=0.02)
        assert scene.host.lock_held("node") is True
        assert scene.host.reclaim("node", keep_queue=False) is False
        assert scene.host.wait(0) is False
        assert put(scene.writer("a"), "y")
    assert drain(scene.reader("a")) == ["x", "y"]


def test_a_host_lock_held_by_another_is_a_live_host(scene: Scene) -> None:
    directory = scene.directory
    scene.leave(HOST)
    with held_by_another(directory, 64):
        assert host_alive(directory)
        with pytest.raises(ArenaError, match="a live host owns"):
            Arena.adopt(directory, timeout_s=0)
    Arena.adopt(directory).close()


# ---- files that are swapped, truncated or opened to others ----


def as_symlink(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_nothing(path: Path) -> None:
    path.unlink()


SWAPS = [as_symlink, as_fifo, as_directory, as_nothing]


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("name", [ARENA_FILE, LOCK_FILE])
def test_a_swapped_file_is_refused(session_dir: Path, name: str, swap: Callable[[Path], None]) -> None:
    session_dir.mkdir()
    Arena.create(session_dir, layout_of(channel("a"))).close()
    swap(session_dir / name)
    with pytest.raises(ArenaError):
        Arena.attach(session_dir, "node", timeout_s=0)
    with pytest.raises(ArenaError):
        Arena.adopt(session_dir, timeout_s=0)


@pytest.mark.parametrize("swap", SWAPS)
def test_who_is_attached_does_not_notice_that_the_file_was_swapped(
    make_scene: MakeScene, swap: Callable[[Path], None]
) -> None:
    scene = make_scene(channel("a"))
    scene.writer("a"), scene.reader("a")
    swap(scene.directory / ARENA_FILE)
    put(scene.writer("a"), "still here")
    assert drain(scene.reader("a")) == ["still here"]
    with pytest.raises(ArenaError):
        ArenaView.open(scene.directory)


@pytest.mark.parametrize("swap", [as_symlink, as_directory, as_nothing])
def test_a_swapped_doorbell_is_refused_and_never_written(scene: Scene, swap: Callable[[Path], None]) -> None:
    node = scene.arena("node")
    scene.reader("a")
    swap(scene.directory / f"bell.{node.index}")
    with pytest.raises(ArenaError, match="FIFO"):
        _ = node.poll_fd
    assert node.arm() is False
    assert put(scene.writer("a"), "x")
    assert node.arm() is True
    node.disarm()


@pytest.mark.parametrize("mode", [0o602, 0o622, 0o646, 0o777])
def test_a_file_opened_to_others_is_refused(session_dir: Path, mode: int) -> None:
    session_dir.mkdir()
    Arena.create(session_dir, layout_of(channel("a"))).close()
    (session_dir / ARENA_FILE).chmod(mode)
    with pytest.raises(ArenaError, match="writable by others"):
        ArenaView.open(session_dir)


def test_a_truncation_at_any_part_is_refused(session_dir: Path) -> None:
    session_dir.mkdir()
    layout = layout_of(channel("a"))
    Arena.create(session_dir, layout).close()
    words = Raw(session_dir, layout)
    places = words.places
    for size in sorted(
        {places.size - 1, *places.heaps, *places.tables, *places.rings, places.channel_words, places.node_words, 0}
    ):
        if size < places.size:
            os.truncate(session_dir / ARENA_FILE, size)
            with pytest.raises(ArenaError, match=r"do not fit|not a Ringline"):
                ArenaView.open(session_dir)
            os.truncate(session_dir / ARENA_FILE, places.size)
    words.close()


# ---- a storm of wake-ups ----


def test_messages_flow_through_a_storm_of_wake_ups(scene: Scene, words: Raw) -> None:
    """A full FIFO and a doorbell that never stands still cost turns, and nothing else."""
    node, reader, writer = scene.arena("node"), scene.reader("a"), scene.writer("a")
    fifo = os.open(scene.directory / f"bell.{node.index}", os.O_RDWR | os.O_NONBLOCK)
    stop = threading.Event()
    storm = threading.Thread(target=ring_until, args=(stop, node, fifo))
    storm.start()
    taken: list[str] = []
    for i in range(300):
        while writer.try_send(str(i).encode(), 0, b"", 0) is None:
            taken += drain(reader)
        if not node.arm():
            node.disarm()
        node.wait(0.001)
        taken += drain(reader)
    stop.set()
    storm.join()
    taken += drain(reader)
    os.close(fifo)
    assert taken == [str(i) for i in range(300)]


def ring_until(stop: threading.Event, node: Arena, fifo: int) -> None:
    while not stop.wait(0.0002):
        node.wake()
        try:
            os.write(fifo, b"!" * 4096)
        except BlockingIOError:
            continue


def test_a_storm_does_not_shorten_a_wait_that_nothing_ends(scene: Scene, words: Raw) -> None:
    node = scene.arena("node")
    scene.reader("a")
    at = words.node("node", raw.BELL)
    stop = threading.Event()

    def storm() -> None:
        while not stop.wait(0.0002):
            words.poke(at, words.peek(at) + 8)

    thread = threading.Thread(target=storm)
    thread.start()
    woken = node.wait(0.05)
    stop.set()
    thread.join()
    assert woken is False


# ---- media that a user gets wrong ----


@pytest.mark.parametrize("timestamp", [-(1 << 63), -1, 0, (1 << 63) - 1])
def test_every_64_bit_time_arrives(scene: Scene, timestamp: int) -> None:
    for again in (timestamp, timestamp):
        scene.writer("a").send(b"", 0, b"", again, again)
    assert [(lease.timestamp, lease.origin) for lease in (get(scene.reader("a")), get(scene.reader("a")))] == [
        (timestamp, timestamp)
    ] * 2


@pytest.mark.parametrize(
    "arguments", [(1 << 32, 0, 0), (-1, 0, 0), (0, 1 << 63, 0), (0, 0, 1 << 63), (0, -(1 << 63) - 1, 0)]
)
def test_a_number_that_does_not_fit_is_refused_and_not_cut(scene: Scene, arguments: tuple[int, int, int]) -> None:
    kind, timestamp, origin = arguments
    with pytest.raises(OverflowError):
        scene.writer("a").send(b"x", kind, b"", timestamp, origin)
    assert scene.channel_stats("a").message_count == 0


@pytest.mark.parametrize("step", [2, -1])
def test_memory_that_is_not_contiguous_is_refused(scene: Scene, step: int) -> None:
    with pytest.raises(BufferError, match="contiguous"):
        scene.writer("a").send(memoryview(b"0123456789")[::step], 0, b"", 0)
    assert scene.reader("a").next() is None


@pytest.mark.parametrize("size", [65537, 1 << 31, (1 << 63) - 1])
def test_a_loan_larger_than_a_message_names_the_setting(scene: Scene, size: int) -> None:
    with pytest.raises(MessageTooLargeError, match="max_message_size"):
        scene.writer("a").loan(size)


def test_a_lease_and_its_views_are_read_only_and_end(scene: Scene) -> None:
    put(scene.writer("a"), "x")
    lease = get(scene.reader("a"))
    with pytest.raises(TypeError, match="read-only"):
        memoryview(lease).cast("B")[0] = 1
    lease.release()
    with pytest.raises(LeaseReleasedError):
        bytes(lease)
    with pytest.raises(LeaseReleasedError):
        scene.writer("b").try_forward(lease, 0, b"", 0)
