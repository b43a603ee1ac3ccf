"""Another process can write anything into shared memory: the codec must answer with DataError, and nothing else."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ringline.data.codec import MAX_META_BYTES, decode, encode
from ringline.data.runtime_data import RuntimeData
from ringline.data.types import AudioMetadata, DataType
from ringline.errors import DataError
from tests.unit.data.leases import FakeLease

EVERYTHING = [
    RuntimeData("audio", np.zeros(4, "i2"), "other", metadata={"sample_rate": 8000, "speaker": [1, 2]}),
    RuntimeData.video(np.zeros((2, 2, 3), np.uint8), fps=30),
    RuntimeData.text("hällo", language="de"),
    RuntimeData.tensor(np.zeros((1, 2, 3)), names=("a", "b", "c")),
    RuntimeData.json({"a": [None]}),
    RuntimeData.binary(b"123"),
    RuntimeData.file("/x"),
    RuntimeData.control("go"),
]


def look_at_all_of(data: RuntimeData) -> None:
    """Read whatever a node could read; DataError is the only error allowed."""
    for read in (data.as_numpy, data.as_text, data.as_json, lambda: data.payload, data.copy, data.size):
        try:
            read()
        except DataError:
            pass
    assert repr(data).startswith("<RuntimeData")


def read_hostile(kind: int, meta: bytes, payload: bytes) -> None:
    try:
        data = decode(kind, meta, FakeLease(payload), timestamp=0)
    except DataError:
        return
    look_at_all_of(data)


@given(st.integers(-1, 300), st.binary(max_size=200), st.binary(max_size=64))
@example(1, b"", b"")
@example(1 << 40, b"\1\0\0\0\0", b"")
def test_random_bytes_give_data_errors_only(kind: int, meta: bytes, payload: bytes) -> None:
    read_hostile(kind, meta, payload)


@given(st.integers(0, 9), st.binary(max_size=100), st.binary(max_size=64))
def test_random_bytes_after_a_good_start_give_data_errors_only(kind: int, rest: bytes, payload: bytes) -> None:
    read_hostile(kind, b"\1" + rest, payload)


@given(st.sampled_from(EVERYTHING), st.data())
def test_changed_and_shortened_messages_give_data_errors_only(message: RuntimeData, data: st.DataObject) -> None:
    sent = encode(message)
    meta = bytearray(sent.meta)
    for _ in range(data.draw(st.integers(0, 3))):
        meta[data.draw(st.integers(0, len(meta) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(meta[: data.draw(st.integers(0, len(meta)))])
    read_hostile(data.draw(st.sampled_from([sent.kind, 1, 3, 5])), cut, memoryview(sent.payload).tobytes())


@pytest.mark.parametrize("message", EVERYTHING, ids=lambda message: message.type)
def test_a_message_cut_anywhere_is_refused(message: RuntimeData) -> None:
    sent = encode(message)
    for length in range(len(sent.meta)):
        with pytest.raises(DataError):
            decode(sent.kind, sent.meta[:length], FakeLease(memoryview(sent.payload).tobytes()), timestamp=0)


@pytest.mark.parametrize("message", EVERYTHING[1:5], ids=lambda message: message.type)
def test_a_message_with_a_byte_too_many_is_refused(message: RuntimeData) -> None:
    sent = encode(message)
    with pytest.raises(DataError, match="too many"):
        decode(sent.kind, sent.meta + b"\0", FakeLease(memoryview(sent.payload).tobytes()), timestamp=0)


def head(dtype: int, *shape: int) -> bytes:
    return bytes((1, 0, dtype, len(shape))) + struct.pack(f"<{len(shape)}Q", *shape) + b"\0"


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        (b"\2\0\0\0\0", "version 2"),
        (b"\1\2\0\0\0", "unknown flags 0x2"),
        (head(10, 2), "8 bytes, its block has 4"),
        (head(10, 0), "0 bytes, its block has 4"),
        (head(10, 0, 1 << 62), "too large"),
        (head(10, 1 << 32, 1 << 32), "too large"),
        (head(77, 1), "dtype 77"),
        (bytes((1, 0, 10, 33)) + bytes(8 * 33 + 1), "33 dimensions"),
        (bytes((1, 0, 10, 1)) + bytes(5), "cut off"),
        (b"\1\0\0\1" + bytes(9), "no dtype"),
        (b"\1\0\0\0\0", "without a layout"),
        (b"\1\1\0\0\5", "session id"),
        (b"\1\1\0\0\1\0\xff\0", "not UTF-8"),
        (head(10, 1)[:-1] + b"\x09", "class 9"),
        (head(10, 1)[:-1] + b"\x80[]", "not a JSON object"),
        (head(10, 1)[:-1] + b"\x80{", "not JSON"),
        (head(10, 1)[:-1] + struct.pack("<BIHBqB", 2, 8000, 1, 2, -1, 0), "layout 2"),
        (head(10, 1)[:-1] + struct.pack("<BIHBqB", 2, 0, 1, 0, -1, 0), "sample_rate"),
        (head(10, 1)[:-1] + struct.pack("<BIHBqB", 2, 8000, 1, 0, -2, 0), "duration_ns"),
        (head(10, 1)[:-1] + b"\4\1\1\xff", "not UTF-8"),
        (bytes(MAX_META_BYTES + 1), "65537 bytes"),
    ],
)
def test_each_lie_is_named(meta: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        decode(1, meta, FakeLease(4), timestamp=0)


def test_a_layout_on_something_that_is_no_array_is_refused() -> None:
    with pytest.raises(DataError, match="text message with a layout"):
        decode(DataType.TEXT.code, head(10, 1), FakeLease(4), timestamp=0)


def test_a_tower_of_brackets_is_refused_when_it_is_read() -> None:
    data = decode(DataType.JSON.code, encode(RuntimeData.json(1)).meta, FakeLease(b"[" * 200_000), timestamp=0)
    with pytest.raises(DataError, match="not JSON"):
        data.as_json()


def test_text_that_is_not_utf8_is_refused_when_it_is_read() -> None:
    data = decode(DataType.TEXT.code, encode(RuntimeData.text("a")).meta, FakeLease(b"\xff"), timestamp=0)
    with pytest.raises(DataError, match="not UTF-8"):
        data.as_text()


def unsendable(data: RuntimeData, **changes: Any) -> RuntimeData:
    for name, value in changes.items():
        setattr(data, name, value)
    return data


def itself() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (unsendable(RuntimeData.text("a"), timestamp=1 << 63), "does not fit into 64 bits"),
        (unsendable(RuntimeData.text("a"), timestamp=0.5), "whole number of nanoseconds"),
        (unsendable(RuntimeData.text("a"), metadata=5), "metadata must be a metadata object or a mapping, not int"),
        (RuntimeData.text("\ud800"), "lone surrogate at character 0"),
        (RuntimeData.json({"a": object()}), "can't be written as JSON"),
        (RuntimeData.json(itself()), "can't be written as JSON"),
        (RuntimeData.text("a", extra={"a": b"bytes"}), "metadata extra can't be written as JSON"),
        (RuntimeData.text("a", extra={"a": "x" * 70_000}), "at most 65536"),
        (RuntimeData.text("a", session_id="x" * 2000), "at most 1024"),
    ],
)
def test_what_cannot_be_written_is_refused_with_its_reason(data: RuntimeData, says: str) -> None:
    with pytest.raises(DataError, match=says):
        encode(data)


def test_a_metadata_class_of_ones_own_is_refused() -> None:
    class MyMetadata(AudioMetadata):
        pass

    with pytest.raises(DataError, match="MyMetadata can't be sent; put your own fields into `extra`"):
        encode(RuntimeData("text", "a", metadata=MyMetadata(8000)))
