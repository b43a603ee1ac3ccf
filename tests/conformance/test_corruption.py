"""A neighbour that writes nonsense: a typed error or the right message, never a crash, never a byte from outside the heap."""

from __future__ import annotations

import mmap
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringline.errors import ChannelFullError, Fenced, RingCorruptError, ShmError
from ringline.graph.layout import CHANNEL_WORDS_BYTES, SLOT_BYTES, offsets
from tests.conformance.conftest import MakeScene
from tests.conformance.scene import Scene, channel, drain, put

HEAD, TAIL = 0, 64
W0, EXTENT, SHAPE, STAMP = 0, 8, 16, 48


@contextmanager
def memory(scene: Scene) -> Iterator[mmap.mmap]:
    with (scene.directory / "arena").open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        yield data


def poke(scene: Scene, at: int, value: int) -> None:
    with memory(scene) as data:
        struct.pack_into("<Q", data, at, value & (1 << 64) - 1)


def peek(scene: Scene, at: int) -> int:
    with memory(scene) as data:
        return int(struct.unpack_from("<Q", data, at)[0])


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (W0, 5 << 32),
        (W0, 0xFFFFFFFF),
        (W0, 10_000),
        (EXTENT, 0),
        (EXTENT, 0xFFFFFFFF),
        (EXTENT, 1 << 32 | 8),
        (EXTENT, 0xFFFFFFFF << 32 | 8),
        (SHAPE, 513),
        (SHAPE, 0xFFFFFFFF),
        (STAMP, 0),
        (STAMP, 1),
        (STAMP, 0xFFFFFFFE),
    ],
)
def test_a_poisoned_descriptor_is_refused(make_scene: MakeScene, word: int, value: int) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), "good")
    poke(scene, offsets(scene.layout).rings[0] + word, value)
    with pytest.raises(RingCorruptError, match="ring of channel 'a' fails its checks"):
        scene.reader("a").next()
    with pytest.raises(RingCorruptError):
        scene.reader("a").next()


def test_a_payload_longer_than_its_block_is_refused(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), bytes(64))
    at = offsets(scene.layout).rings[0] + EXTENT
    poke(scene, at, peek(scene, at) + 1)
    with pytest.raises(RingCorruptError):
        scene.reader("a").next()


def test_a_missing_reference_bit_is_refused(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), "x")
    poke(scene, offsets(scene.layout).tables[1], 0)
    with pytest.raises(RingCorruptError):
        scene.reader("a").next()


@pytest.mark.parametrize(("word", "value"), [(HEAD, 1000), (HEAD, -1), (TAIL, 7 << 32), (TAIL, 99)])
def test_impossible_positions_are_refused(make_scene: MakeScene, word: int, value: int) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), "x")
    poke(scene, offsets(scene.layout).channel_words + word, value)
    with pytest.raises(RingCorruptError):
        scene.reader("a").next()


def test_a_corrupt_channel_leaves_the_others_alone(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"), channel("b"))
    put(scene.writer("a"), "x")
    put(scene.writer("b"), "fine")
    poke(scene, offsets(scene.layout).rings[0] + EXTENT, 0)
    with pytest.raises(RingCorruptError):
        scene.reader("a").next()
    assert (drain(scene.reader("b")), scene.arena("node").wait(0)) == (["fine"], False)


def test_a_poisoned_oldest_message_stops_a_dropping_writer(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=1, overflow="drop_oldest"))
    put(scene.writer("a"), "x")
    poke(scene, offsets(scene.layout).rings[0] + W0, 77 << 32)
    with pytest.raises(RingCorruptError):
        put(scene.writer("a"), "y")


@pytest.mark.parametrize(("gate", "error"), [(9 << 32, Fenced), (1 << 32 | 3, Fenced), (1 << 32 | 1, RingCorruptError)])
def test_a_forged_gate_ends_its_node(make_scene: MakeScene, gate: int, error: type[ShmError]) -> None:
    scene = make_scene(channel("a"))
    scene.writer("a")
    poke(scene, offsets(scene.layout).node_words + 64 + 640, gate)
    with pytest.raises(error):
        put(scene.writer("a"), "x")


def test_a_gate_that_stays_closed_stops_no_try_and_no_timed_send(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    writer, gate = scene.writer("a"), offsets(scene.layout).node_words + 64 + 640
    poke(scene, gate, 1 << 32 | 2)
    assert writer.try_send(b"x", 0, b"", 0) is None
    assert scene.host.wait(0) is False
    with pytest.raises(ChannelFullError, match="reclaiming what a dead node held"):
        writer.send(b"x", 0, b"", 0, timeout_s=0.01)
    poke(scene, gate, 1 << 32)
    assert (writer.try_send(b"x", 0, b"", 0), drain(scene.reader("a"))) == (True, ["x"])


def test_a_reader_of_another_epoch_is_fenced(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), "x")
    reader = scene.reader("a")
    poke(scene, offsets(scene.layout).node_words + 64, 2 << 32)
    with pytest.raises(Fenced, match="declared this process dead"):
        reader.next()
    assert scene.arena("node").wait(0) is True


@pytest.mark.parametrize("seed", range(8))
def test_random_mutations_give_a_typed_error_or_a_message(session_dir: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(12):
        with_mutations(session_dir, chance)


def with_mutations(session_dir: Path, chance: random.Random) -> None:
    """Send and read while words of rings, tables and channel words change."""
    policy = chance.choice(["drop_oldest", "drop_newest", "latest", "deadline"])
    capacity = 1 if policy == "latest" else 3
    scene = Scene(session_dir, channel("a", capacity=capacity, overflow=policy, deadline_ms=50), message=4096)  # type: ignore[arg-type]
    places = offsets(scene.layout)
    writer, reader = scene.writer("a"), scene.reader("a")
    spots = [*range(places.channel_words, places.channel_words + CHANNEL_WORDS_BYTES, 8)]
    spots += range(places.rings[0], places.rings[0] + capacity * SLOT_BYTES, 8)
    spots += range(places.tables[1], places.tables[1] + 10 * 64, 8)
    try:
        for _ in range(150):
            exchange(scene, chance, spots)
            writer.try_send(chance.randbytes(chance.randrange(200)), 0, bytes(chance.randrange(700)), 0)
            lease = reader.next()
            if lease is not None:
                assert len(bytes(lease)) <= 4096 + 64
                lease.release()
    except ShmError:
        assert scene.directory.exists()
    finally:
        scene.close()
        for path in session_dir.iterdir():
            path.unlink()
        session_dir.rmdir()


def exchange(scene: Scene, chance: random.Random, spots: list[int]) -> None:
    if chance.random() < 0.5:
        at = chance.choice(spots)
        poke(scene, at, chance.choice([0, 1, chance.getrandbits(64), peek(scene, at) ^ 1 << chance.randrange(64)]))
