"""Messages in real shared memory: an arena whose host sends to itself."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from ringline.data import arrays
from ringline.data.codec import decode, encode, encode_meta, forward_meta
from ringline.data.runtime_data import RuntimeData
from ringline.errors import DataError, LeaseReleasedError
from ringline.graph.layout import ChannelPlan, arena_layout
from ringline.names import HOST
from ringline.shm import Arena

CHANNELS: Final = tuple(ChannelPlan(n, f"c{n}", HOST, "output", HOST, f"input{n}", 4) for n in range(2))
MAX_BYTES: Final = 1 << 20


class Loop:
    """Two channels from a process to itself."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.writers = [arena.writer([channel.name]) for channel in CHANNELS]
        self.readers = [arena.reader(channel.name) for channel in CHANNELS]

    def send(self, data: RuntimeData) -> RuntimeData:
        sent = encode(data, "call")
        assert self.writers[0].send(sent.payload, sent.kind, sent.meta, data.timestamp)
        return self.receive(0)

    def receive(self, channel: int) -> RuntimeData:
        lease = self.readers[channel].next()
        assert lease is not None
        return decode(
            lease.kind,
            lease.meta,
            lease,
            timestamp=lease.timestamp,
            origin=lease.origin,
            sequence=lease.sequence,
            port=f"input{channel}",
            session_id="call",
        )

    def held(self) -> int:
        return sum(reader.held for reader in self.readers)


@pytest.fixture
def loop(shm_root: Path, tmp_path: Path) -> Iterator[Loop]:
    directory = shm_root / f"data-{tmp_path.name}"
    directory.mkdir(mode=0o700)
    layout = arena_layout([HOST], CHANNELS, max_message_bytes=MAX_BYTES, shm_bytes=8 * MAX_BYTES)
    arena = Arena.create(directory, layout)
    yield Loop(arena)
    arena.close()
    for entry in directory.iterdir():
        entry.unlink()
    directory.rmdir()


EVERYTHING: Final = [
    RuntimeData.audio(np.arange(480, dtype=np.float32), 48_000, timestamp=-5, extra={"speaker": "a"}),
    RuntimeData.video(np.arange(72, dtype=np.uint8).reshape(4, 6, 3), fps=30),
    RuntimeData.text("häl\0lo", language="de", session_id="other"),
    RuntimeData.tensor(np.arange(6, dtype=">f8").reshape(2, 3).T, names=("x", "y")),
    RuntimeData.tensor(np.zeros((0, 3))),
    RuntimeData.tensor(np.float16(0.5)),
    RuntimeData.json({"a": [1, None]}),
    RuntimeData.binary(b""),
    RuntimeData.file("/a/b"),
    RuntimeData.control("go", fast=True),
    RuntimeData.text("a", extra={"long": "x" * 5000}),
]


@pytest.mark.parametrize("data", EVERYTHING, ids=repr)
def test_every_message_comes_out_of_a_block_as_it_went_in(loop: Loop, data: RuntimeData) -> None:
    got = loop.send(data)
    if isinstance(data.payload, np.ndarray):
        assert got.payload.dtype == data.payload.dtype
        assert got.payload.shape == data.payload.shape
        assert got.payload.tolist() == data.payload.tolist()
    else:
        assert got.payload == data.payload
    assert (got.type, got.metadata, got.timestamp) == (data.type, data.metadata, data.timestamp)
    assert (got.session_id, got.port, got.sequence) == (data.session_id or "call", "input0", 0)


def test_an_array_shows_the_block_and_cannot_be_written(loop: Loop) -> None:
    got = loop.send(RuntimeData.tensor(np.arange(4)))
    array = got.as_numpy()
    assert arrays.owner(array) is got.lease
    assert np.shares_memory(array, got.as_numpy())
    with pytest.raises(ValueError, match="read-only"):
        array += 1


def test_a_slice_keeps_the_block_after_release_and_its_end_gives_it_back(loop: Loop) -> None:
    got = loop.send(RuntimeData.tensor(np.arange(4)))
    part = got.as_numpy()[1:3]
    got.release()
    assert (got.released, loop.held()) == (True, 1)
    with pytest.raises(LeaseReleasedError):
        got.as_numpy()
    assert part.tolist() == [1, 2]
    del part
    assert loop.held() == 0


def test_a_block_that_is_looked_at_is_never_written_again(loop: Loop) -> None:
    kept = []
    for number in range(12):
        got = loop.send(RuntimeData.tensor(np.full(100, number)))
        kept.append(got.as_numpy())
        got.release()
    assert [set(array.tolist()) for array in kept] == [{number} for number in range(12)]
    kept.clear()
    assert loop.held() == 0


def test_a_message_that_is_forgotten_gives_its_block_back(loop: Loop) -> None:
    for data in EVERYTHING:
        loop.send(data).payload  # noqa: B018
    gc.collect()
    assert loop.held() == 0


def test_a_received_message_passes_on_in_the_same_block_with_other_metadata(loop: Loop) -> None:
    got = loop.send(RuntimeData.audio(np.arange(8, dtype=np.float32), 8000))
    changed = got.with_(timestamp=9, metadata={"sample_rate": 8000, "gain": 2})
    lease: Any = changed.lease
    loop.writers[1].forward(lease, *encode_meta(changed, "call"), changed.timestamp, 0)
    on = loop.receive(1)
    onward: Any = on.lease
    assert onward.address == lease.address
    assert (on.timestamp, on.metadata.extra, on.as_numpy().tolist()) == (9, {"gain": 2}, list(range(8)))
    got.release()
    assert on.as_numpy()[7] == 7


def test_an_unchanged_message_passes_on_with_the_very_bytes_it_came_with(loop: Loop) -> None:
    got = loop.send(RuntimeData.audio(np.arange(8, dtype=np.float32), 8000, timestamp=5))
    lease: Any = got.lease
    kind, meta = forward_meta(got, lease, "call")
    assert meta is lease.meta
    assert (kind, meta) == encode_meta(got, "call")


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {"sample_rate": 16000}},
        {"metadata": None},
        {"session_id": "another"},
        {"timestamp": 6},
        {"type": "tensor"},
    ],
)
def test_what_was_changed_on_the_way_is_encoded_anew(loop: Loop, changes: dict[str, Any]) -> None:
    got = loop.send(RuntimeData.audio(np.arange(8, dtype=np.float32), 8000, timestamp=5))
    changed = got.with_(**changes)
    assert forward_meta(changed, changed.lease, "call") == encode_meta(changed, "call")


def test_a_message_that_only_shows_a_block_is_encoded_anew(loop: Loop) -> None:
    got = loop.send(RuntimeData.binary(bytes(16)))
    shown = RuntimeData.tensor(got.as_numpy())
    assert forward_meta(shown, got.lease, "call") == encode_meta(shown, "call") != encode_meta(got, "call")


def test_a_changed_time_that_can_not_be_sent_is_refused_on_the_way_too(loop: Loop) -> None:
    got = loop.send(RuntimeData.binary(b"x"))
    got.timestamp = 1 << 63
    with pytest.raises(DataError, match="does not fit into 64 bits"):
        forward_meta(got, got.lease, "call")


def test_a_borrowed_block_is_sent_where_it_was_filled(loop: Loop) -> None:
    loan = loop.writers[0].loan(32)
    array = np.frombuffer(memoryview(loan), np.float64)
    array[:] = 2.5
    data = RuntimeData.tensor(array)
    assert arrays.owner(data.as_numpy()) is loan
    address = loan.address
    del array
    kind, meta = encode_meta(data, "call")
    data.release()
    loop.writers[0].commit(loan, kind, meta, 0)
    got = loop.receive(0)
    lease: Any = got.lease
    assert (lease.address, got.as_numpy().tolist()) == (address, [2.5] * 4)


def test_a_copy_needs_no_block(loop: Loop) -> None:
    got = loop.send(RuntimeData.tensor(np.arange(3)))
    kept = got.copy()
    got.release()
    assert loop.held() == 0
    kept.as_numpy()[0] = 5
    assert kept.as_numpy().tolist() == [5, 1, 2]
