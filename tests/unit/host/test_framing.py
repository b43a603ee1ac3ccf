"""Frames of an ingress connection: every message survives, and nothing that a stranger writes does harm."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline.data import DataType, RuntimeData
from ringline.data.types import AudioMetadata, TextMetadata, VideoMetadata
from ringline.errors import DataError
from ringline.host import framing

MESSAGES = [
    RuntimeData.audio(np.linspace(-1, 1, 480, dtype=np.float32), 48000, timestamp=7, extra={"utterance": 1}),
    RuntimeData.audio(np.zeros((2, 10), np.int16), 16000, layout="planar"),
    RuntimeData.video(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3), fps=30.0),
    RuntimeData.text("héllo", language="fr", final=False),
    RuntimeData.tensor(np.arange(6, dtype=">i4").reshape(2, 3), names=("row", "column")),
    RuntimeData.tensor(np.array(3.5)),
    RuntimeData.tensor(np.zeros((0, 3), np.float64)),
    RuntimeData.json({"a": [1, None, "x"]}),
    RuntimeData.binary(b"\0\1\2"),
    RuntimeData.binary(b""),
    RuntimeData.file("/some/where"),
    RuntimeData.control("mark", at=3),
]


def stream(*pieces: Any, end: bool = True) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(bytes(piece))
    if end:
        reader.feed_eof()
    return reader


async def through(data: RuntimeData) -> RuntimeData:
    frame = await framing.read(stream(*framing.message_frame(data)), 1 << 20)
    assert frame is not None
    return framing.message(*frame)


@pytest.mark.parametrize("data", MESSAGES, ids=lambda data: f"{data.type}-{data.size()}")
async def test_every_field_of_a_message_survives(data: RuntimeData) -> None:
    found = await through(data)
    assert (found.type, found.timestamp, found.metadata) == (data.type, data.timestamp, data.metadata)
    if data.type in (DataType.AUDIO, DataType.VIDEO, DataType.TENSOR):
        assert found.as_numpy().dtype == data.as_numpy().dtype
        assert np.array_equal(found.as_numpy(), data.as_numpy())
    else:
        assert found.payload == data.payload


async def test_an_array_that_is_not_contiguous_arrives_as_it_looks() -> None:
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)[::2, ::-1]
    assert np.array_equal((await through(RuntimeData.video(picture))).as_numpy(), picture)


async def test_the_sequence_is_told_to_readers() -> None:
    header, _ = await read(RuntimeData.text("x").with_(sequence=9))
    assert header["sequence"] == 9


async def read(data: RuntimeData) -> tuple[dict[str, Any], bytes]:
    frame = await framing.read(stream(*framing.message_frame(data)), 1 << 20)
    assert frame is not None
    return frame


async def test_a_client_in_another_language_needs_only_words() -> None:
    header = {"op": "data", "type": "audio", "dtype": "<i2", "shape": [4], "metadata": {"sample_rate": 8000}, "body": 8}
    text = json.dumps(header).encode()
    frame = await framing.read(stream(len(text).to_bytes(4, "little"), text, b"\1\0\2\0\3\0\4\0"), 100)
    assert frame is not None
    data = framing.message(*frame)
    assert data.as_numpy().tolist() == [1, 2, 3, 4]
    assert data.metadata == AudioMetadata(8000)


async def test_frames_follow_each_other_and_then_comes_the_end() -> None:
    reader = stream(*framing.pack({"op": "open"}), *framing.message_frame(RuntimeData.text("x")))
    assert await framing.read(reader, 10) == ({"op": "open"}, b"")
    header, body = await framing.read(reader, 10) or ({}, b"")
    assert (header["op"], body) == ("data", b"x")
    assert await framing.read(reader, 10) is None


@pytest.mark.parametrize("kept", [2, 6, -1])
async def test_a_frame_that_is_cut_off_is_an_error(kept: int) -> None:
    whole = b"".join(bytes(piece) for piece in framing.message_frame(RuntimeData.text("hello")))
    with pytest.raises(DataError, match="ended within a frame"):
        await framing.read(stream(whole[:kept]), 100)


async def test_a_header_that_is_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(DataError, match="at most 65536"):
        await framing.read(stream(b"\xff\xff\xff\x7f", end=False), 100)


async def test_a_body_that_is_too_long_is_refused_before_it_is_read() -> None:
    head = framing.pack({"op": "data", "body": 101})
    with pytest.raises(DataError, match="at most 100"):
        await framing.read(stream(*head, end=False), 100)


@pytest.mark.parametrize("body", [-1, "4", 1.5, True, None])
async def test_a_body_s_length_is_a_number_of_bytes(body: object) -> None:
    with pytest.raises(DataError, match="body takes"):
        await framing.read(stream(*framing.pack({"op": "data", "body": body})), 100)


@pytest.mark.parametrize("text", [b"{", b"[]", b'"x"', b"{}", b'{"op": 1}', b"\xff", b"[" * 5000])
async def test_a_header_that_is_no_object_with_an_op_is_refused(text: bytes) -> None:
    with pytest.raises(DataError, match="header"):
        await framing.read(stream(len(text).to_bytes(4, "little"), text), 100)


def test_a_header_of_our_own_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(DataError, match="at most"):
        framing.pack({"op": "x", "text": "y" * 70000})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "sound"}, "not a data type"),
        ({"type": None}, "not a data type"),
        ({"dtype": "O"}, "dtype"),
        ({"dtype": None}, "dtype"),
        ({"dtype": "<f9"}, "dtype"),
        ({"shape": [3]}, "its body has 16"),
        ({"shape": [-4]}, "shape"),
        ({"shape": [True]}, "shape"),
        ({"shape": 4}, "shape"),
        ({"shape": [1] * 99}, "shape"),
        ({"shape": [2**62, 2**62, 0]}, "takes"),
        ({"metadata": [1]}, "metadata"),
        ({"metadata": {"sample_rate": -1}}, "sample_rate"),
        ({"timestamp": "now"}, "timestamp"),
        ({"timestamp": 2**63}, "timestamp"),
    ],
)
def test_a_message_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    header = {"op": "data", "type": "audio", "dtype": "<f4", "shape": [4], "metadata": {"sample_rate": 8000}}
    framing.message(header, bytes(16))
    with pytest.raises(DataError, match=message):
        framing.message(header | changes, bytes(16))


@pytest.mark.parametrize(("kind", "body"), [("text", b"\xff"), ("json", b"{"), ("control", b"")])
def test_a_body_of_the_wrong_form_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(DataError):
        framing.message({"op": "data", "type": kind}, body)


@given(header=st.dictionaries(st.text(max_size=9), st.integers() | st.text(max_size=9) | st.none()), body=st.binary())
def test_whatever_a_header_says_only_a_data_error_comes_of_it(header: dict[str, Any], body: bytes) -> None:
    kinds = ("audio", "text", "json", "binary", "tensor")
    for kind in kinds:
        try:
            framing.message({"op": "data", "type": kind, "dtype": "<f4", "shape": [1], **header}, body)
        except DataError:
            continue


def test_metadata_is_told_without_what_is_not_known() -> None:
    assert framing.metadata_to_mapping(TextMetadata()) == {"language": "", "final": True}
    assert framing.metadata_to_mapping(VideoMetadata(4, 2, extra={"a": 1})) == {
        "width": 4,
        "height": 2,
        "format": "bgr24",
        "fps": 0.0,
        "extra": {"a": 1},
    }


ARRAYS = st.tuples(
    st.sampled_from(["<f4", "<i2", ">i4", "|u1", "<f8", "|b1", ">c16"]),
    st.lists(st.integers(min_value=0, max_value=5), max_size=4),
)


@given(array=ARRAYS, timestamp=st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_arrays_of_any_kind_and_shape_go_through(array: tuple[str, list[int]], timestamp: int) -> None:
    dtype, shape = array
    values = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape).astype(dtype)
    pieces = framing.message_frame(RuntimeData.tensor(values, timestamp=timestamp))
    found = framing.message(*parsed(pieces))
    assert found.timestamp == timestamp
    assert found.as_numpy().dtype == values.dtype
    assert np.array_equal(found.as_numpy(), values)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=9,
)


@given(
    value=JSON, text=st.text(alphabet=st.characters(codec="utf-8")), extra=st.dictionaries(st.text(max_size=5), JSON)
)
def test_json_text_and_extras_go_through(value: Any, text: str, extra: dict[str, Any]) -> None:
    assert framing.message(*parsed(framing.message_frame(RuntimeData.json(value)))).as_json() == value
    found = framing.message(*parsed(framing.message_frame(RuntimeData.text(text, extra=extra))))
    assert found.as_text() == text
    assert dict(found.metadata.extra) == extra


def parsed(pieces: list[Any]) -> tuple[dict[str, Any], bytes]:
    """Take a frame apart without a stream."""
    whole = b"".join(bytes(piece) for piece in pieces)
    length = int.from_bytes(whole[:4], "little")
    header = framing.parse_header(whole[4 : 4 + length])
    body = whole[4 + length :]
    assert framing.body_bytes(header, len(body)) == len(body)
    return header, body


async def test_what_is_written_to_somebody_who_has_gone_is_a_lost_connection(tmp_path: Path) -> None:
    """Not an AttributeError, which Python 3.12 and later give."""
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_unix_server(lambda _, theirs: accepted.put_nowait(theirs), tmp_path / "socket")
    async with server:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
        theirs = await accepted.get()
        framing.write(writer, framing.pack({"op": "hello"}, b"body"))
        await writer.drain()
        theirs.transport.abort()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        while not writer.is_closing():
            await asyncio.sleep(0)
        for _ in range(3):
            with pytest.raises(ConnectionResetError, match="the other end has gone"):
                framing.write(writer, framing.pack({"op": "more"}))
            await asyncio.sleep(0)
