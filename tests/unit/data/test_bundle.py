"""Several arrays in one message: every name, dtype and shape survives the way, and nothing in a block is believed."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ringline.data import DataType, Metadata, RuntimeData
from ringline.data.bundle import LINE, MAX_ARRAYS, read, size, write
from ringline.errors import DataError, LeaseReleasedError
from tests.unit.data.leases import FakeLease, lease_of, over_the_wire

DTYPES = st.sampled_from(["u1", "<i2", ">i4", "<u8", "<f2", "<f4", ">f8", "<c8", "<c16", "?"])
ARRAYS = npst.arrays(DTYPES, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
NAMES = st.text(min_size=1, max_size=20).filter(str.isprintable)
BOXES = np.arange(12, dtype=np.float32).reshape(3, 4)
SCORES = np.array([3, 2, 1], ">i2")


def same(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> bool:
    return (ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes())


@given(st.dictionaries(NAMES, ARRAYS, max_size=6))
def test_any_arrays_arrive_bit_by_bit_in_their_order(arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    sent = RuntimeData.arrays(arrays, timestamp=5)
    got = over_the_wire(sent)
    assert (got.type, got.timestamp, list(got.as_arrays())) == (DataType.ARRAYS, 5, list(arrays))
    assert all(same(got.as_arrays()[name], array) for name, array in arrays.items())
    assert got.size() == sent.size() == len(write(sent.as_arrays()))


def test_arrays_of_any_order_in_memory_arrive_as_they_look() -> None:
    arrays = {"fortran": np.asfortranarray(BOXES), "backwards": BOXES[::-1, ::2], "scalar": np.array(7)}
    got = over_the_wire(RuntimeData.arrays(arrays)).as_arrays()
    assert all((got[name] == array).all() for name, array in arrays.items())


def test_a_list_of_arrays_is_named_by_numbers() -> None:
    got = over_the_wire(RuntimeData.arrays([BOXES, [1, 2]]))
    assert list(got.as_arrays()) == ["0", "1"]
    assert got.as_arrays()["1"].tolist() == [1, 2]


def test_extra_metadata_goes_along() -> None:
    got = over_the_wire(RuntimeData.arrays({"a": BOXES}, extra={"model": "yolo"}))
    assert got.metadata == Metadata(extra={"model": "yolo"})


def test_every_hop_passes_the_same_arrays_on() -> None:
    first = over_the_wire(RuntimeData.arrays({"boxes": BOXES, "scores": SCORES}))
    second = over_the_wire(first.with_(timestamp=9))
    assert same(second.as_arrays()["boxes"], BOXES)
    assert same(second.as_arrays()["scores"], SCORES)


def test_received_arrays_are_read_only_views_of_the_block_on_lines_of_their_own() -> None:
    got = over_the_wire(RuntimeData.arrays({"boxes": BOXES, "scores": SCORES}))
    base = np.frombuffer(lease_of(got), np.uint8).__array_interface__["data"][0]
    for array in got.as_arrays().values():
        assert not array.flags.writeable
        assert (array.__array_interface__["data"][0] - base) % LINE == 0
    with pytest.raises(TypeError):
        got.as_arrays()["boxes"] = BOXES  # type: ignore[index]


def test_one_array_keeps_the_whole_block_after_release() -> None:
    got = over_the_wire(RuntimeData.arrays({"boxes": BOXES, "scores": SCORES}))
    lease, scores = lease_of(got), got.as_arrays()["scores"]
    got.release()
    with pytest.raises(LeaseReleasedError):
        got.as_arrays()
    assert lease.looked_at
    assert same(scores, SCORES)
    del scores
    assert not lease.looked_at


def test_a_copy_is_writable_and_needs_no_block() -> None:
    got = over_the_wire(RuntimeData.arrays({"boxes": BOXES}))
    mine = got.copy()
    got.release()
    mine.as_arrays()["boxes"][0, 0] = 99
    assert mine.as_arrays()["boxes"][0, 0] == 99


def test_its_words_name_the_arrays() -> None:
    assert "boxes: 3x4 float32, scores: 3 >i2" in repr(RuntimeData.arrays({"boxes": BOXES, "scores": SCORES}))
    assert "bytes" in repr(over_the_wire(RuntimeData.arrays({"boxes": BOXES})))


def test_as_numpy_and_as_arrays_name_each_other() -> None:
    with pytest.raises(DataError, match=r"several arrays; use \.as_arrays"):
        RuntimeData.arrays({"a": BOXES}).as_numpy()
    with pytest.raises(DataError, match="a tensor message does not hold several arrays"):
        RuntimeData.tensor(BOXES).as_arrays()


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (BOXES, "must be a mapping from names to arrays, not ndarray"),
        ({"": BOXES}, "name is 1 to 200 bytes"),
        ({"a\n": BOXES}, "name is 1 to 200 bytes"),
        ({"ä" * 101: BOXES}, "name is 1 to 200 bytes"),
        ({1: BOXES}, "name is 1 to 200 bytes"),
        ({"a": np.array([object()])}, "dtype object can't be sent"),
        ({"a": "text"}, "must be a numpy array, not str"),
        ([0] * (MAX_ARRAYS + 1), "at most 256 arrays, not 257"),
    ],
)
def test_what_can_not_travel_is_refused_in_a_sentence(payload: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        RuntimeData("arrays", payload)


def test_no_arrays_at_all_are_a_message_too() -> None:
    assert dict(over_the_wire(RuntimeData.arrays({})).as_arrays()) == {}


GOOD = bytes(write(RuntimeData.arrays({"a": BOXES, "b": SCORES}).as_arrays()))


@pytest.mark.parametrize("length", [0, 7, 8, 20, len(GOOD) - 1])
def test_a_block_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(DataError):
        read(FakeLease(GOOD[:length]))


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, struct.pack("<H", 2), "version 2"),
        (2, struct.pack("<H", 999), "999 arrays"),
        (2, struct.pack("<H", 1), "does not end where its arrays do"),
        (4, struct.pack("<I", 1 << 30), "head says"),
        (4, struct.pack("<I", 10), "cut off"),
        (8, b"\x7f", "dtype 127"),
        (9, b"\xff", "255 dimensions"),
        (10, struct.pack("<H", 0), "dimensions"),
        (12, struct.pack("<Q", 1 << 62), "too large"),
        (12, struct.pack("<Q", 1 << 40), "ends behind its block"),
        (28, b"\xff", "not UTF-8"),
        (28, b"b", "two arrays named 'b'"),
    ],
)
def test_a_head_that_lies_is_refused(at: int, value: bytes, message: str) -> None:
    block = bytearray(GOOD)
    block[at : at + len(value)] = value
    with pytest.raises(DataError, match=message):
        read(FakeLease(block))


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_or_read_within_their_bounds(block: bytes) -> None:
    try:
        found = read(FakeLease(block))
    except DataError:
        return
    assert sum(array.nbytes for array in found.values()) <= len(block)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_one_changed_byte_gives_a_typed_error_or_arrays_in_bounds(at: int, value: int) -> None:
    block = bytearray(GOOD)
    block[at] = value
    try:
        found = read(FakeLease(block))
    except DataError:
        return
    assert sum(array.nbytes for array in found.values()) <= len(block)


def test_the_size_is_that_of_the_block() -> None:
    arrays = RuntimeData.arrays({"a": BOXES, "b": SCORES}).as_arrays()
    assert size(arrays) == len(write(arrays)) == 2 * LINE + SCORES.nbytes
