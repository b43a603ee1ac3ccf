"""Everything that can be sent arrives as it was sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ringline.data.arrays import DTYPES
from ringline.data.codec import encode
from ringline.data.runtime_data import RuntimeData
from ringline.data.types import AudioMetadata, DataType, Metadata, TensorMetadata, TextMetadata, VideoMetadata
from tests.unit.data.leases import lease_of, over_the_wire

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
WORDS = st.text(st.characters(categories=("L", "N", "P")), max_size=20)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
EXTRA = st.dictionaries(st.text(max_size=8), JSON_VALUES, max_size=3)
METADATA = st.one_of(
    st.none(),
    st.builds(Metadata, extra=EXTRA),
    st.builds(
        AudioMetadata,
        st.integers(1, 0xFFFF_FFFF),
        st.integers(1, 0xFFFF),
        WORDS,
        st.sampled_from(["interleaved", "planar"]),
        st.none() | st.integers(0, (1 << 63) - 1),
        extra=EXTRA,
    ),
    st.builds(
        VideoMetadata,
        st.integers(0, 0xFFFF_FFFF),
        st.integers(0, 0xFFFF_FFFF),
        WORDS,
        st.floats(allow_nan=False),
        extra=EXTRA,
    ),
    st.builds(TextMetadata, WORDS, st.booleans(), extra=EXTRA),
    st.builds(TensorMetadata, st.lists(WORDS, max_size=5).map(tuple), extra=EXTRA),
)
ANY_ARRAY = st.sampled_from(list(DTYPES.values())).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4))
)


def same_bits(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> bool:
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


@given(ANY_ARRAY, METADATA, INT64, st.text(max_size=40))
def test_an_array_of_any_allowed_dtype_and_shape_arrives_bit_by_bit(
    array: np.ndarray[Any, Any], metadata: Metadata | None, timestamp: int, session_id: str
) -> None:
    sent = RuntimeData("tensor", array, session_id=session_id, timestamp=timestamp, metadata=metadata)
    got = over_the_wire(sent)
    assert same_bits(got.as_numpy(), array)
    assert (got.metadata, got.timestamp, got.session_id, got.type) == (metadata, timestamp, session_id, "tensor")
    assert type(got.metadata) is type(metadata)


@given(ANY_ARRAY, st.data())
def test_a_view_of_any_strides_arrives_as_it_looks(array: np.ndarray[Any, Any], data: st.DataObject) -> None:
    steps = [slice(None, None, data.draw(st.sampled_from([1, 2, -1, -2]))) for _ in array.shape]
    view = np.asfortranarray(array)[tuple(steps)].T
    assert same_bits(over_the_wire(RuntimeData("tensor", view)).as_numpy(), view)


@given(st.text())
def test_text_arrives(text: str) -> None:
    sent = RuntimeData.text(text)
    got = over_the_wire(sent)
    assert got.payload == got.as_text() == text
    assert got.size() == sent.size() == len(text.encode())


@given(JSON_VALUES)
def test_a_json_value_arrives(value: Any) -> None:
    sent = RuntimeData.json(value)
    got = over_the_wire(sent)
    assert got.as_json() == value
    assert got.size() == sent.size()


@given(st.binary())
def test_bytes_arrive(content: bytes) -> None:
    got = over_the_wire(RuntimeData.binary(content))
    assert bytes(got.payload) == content == got.as_numpy().tobytes()


@given(st.binary(min_size=1).filter(lambda name: 0 not in name))
def test_a_path_arrives_whatever_its_bytes_are(name: bytes) -> None:
    sent = RuntimeData.file(name)
    assert over_the_wire(sent).payload == sent.payload


@given(METADATA)
def test_metadata_that_was_received_is_sent_on_unchanged(metadata: Metadata | None) -> None:
    once = over_the_wire(RuntimeData("text", "a", metadata=metadata))
    assert over_the_wire(once).metadata == metadata


def test_every_type_keeps_its_kind() -> None:
    messages = [
        RuntimeData.audio([0.5, -0.5], 8000),
        RuntimeData.video(np.zeros((2, 4, 3), np.uint8), fps=25),
        RuntimeData.text("hello", language="en", final=False),
        RuntimeData.tensor([[1, 2]], names=("row", "column")),
        RuntimeData.json({"a": 1}),
        RuntimeData.binary(b"\0\1"),
        RuntimeData.file("/a/b"),
        RuntimeData.control("reset", hard=True),
        RuntimeData.arrays({"boxes": np.zeros((3, 4), np.float32), "scores": [0.5, 0.25, 0.125]}),
    ]
    assert [message.type for message in messages] == list(DataType)
    for sent in messages:
        got = over_the_wire(sent)
        assert (got.type, got.metadata, got.size()) == (sent.type, sent.metadata, sent.size())


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 5e-324, -0.0])
def test_special_numbers_pass(special: float) -> None:
    array = np.full(3, special)
    assert same_bits(over_the_wire(RuntimeData.tensor(array)).as_numpy(), array)


def test_non_finite_numbers_pass_in_json() -> None:
    assert over_the_wire(RuntimeData.json([float("inf")])).as_json() == [float("inf")]


@pytest.mark.parametrize(
    "view",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12.0)[::2],
        np.arange(12.0)[::-1],
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.broadcast_to(np.float32(2), (3, 3)),
    ],
)
def test_what_is_not_contiguous_is_copied_and_says_so(view: np.ndarray[Any, Any]) -> None:
    assert encode(RuntimeData.tensor(view)).copied
    assert same_bits(over_the_wire(RuntimeData.tensor(view)).as_numpy(), view)


def test_a_contiguous_array_is_not_copied() -> None:
    array = np.arange(12, dtype=">i4").reshape(3, 4)
    sent = encode(RuntimeData.tensor(array))
    assert not sent.copied
    assert np.shares_memory(sent.payload, array)


def test_a_strided_memoryview_is_copied_and_says_so() -> None:
    view = memoryview(b"abcdef")[::2]
    assert encode(RuntimeData.binary(view)).copied
    assert bytes(over_the_wire(RuntimeData.binary(view)).payload) == b"ace"


def test_the_sessions_own_id_is_not_written_and_another_is() -> None:
    mine, other = RuntimeData.text("a", session_id="mine"), RuntimeData.text("a", session_id="other")
    assert b"mine" not in encode(mine, "mine").meta
    assert over_the_wire(mine, "mine").session_id == "mine"
    assert over_the_wire(other, "mine").session_id == "other"


def test_a_message_without_a_session_gets_the_one_it_travels_in() -> None:
    assert over_the_wire(RuntimeData.text("a"), "mine").session_id == "mine"


def test_a_mapping_that_was_set_as_metadata_later_is_sent_too() -> None:
    data = RuntimeData.text("a")
    data.metadata = {"language": "de", "mood": 3}
    assert over_the_wire(data).metadata == TextMetadata("de", extra={"mood": 3})


def test_what_the_channel_knows_is_set_on_arrival() -> None:
    got = over_the_wire(RuntimeData.text("a"), timestamp=7, origin=8, sequence=9, port="audio")
    assert (got.timestamp, got.origin, got.sequence, got.port) == (7, 8, 9, "audio")


def test_a_received_message_is_encoded_again_from_its_block() -> None:
    got = over_the_wire(RuntimeData.tensor(np.arange(3)))
    assert encode(got).payload is got.lease
    assert not lease_of(got).looked_at


def test_the_metadata_of_streams_is_small() -> None:
    sent = encode(RuntimeData.audio(np.zeros(480, np.float32), 48000), "session")
    assert len(sent.meta) < 64


def test_more_shapes_than_are_remembered_still_arrive() -> None:
    for size in range(600):
        assert over_the_wire(RuntimeData.tensor(np.zeros(size, np.uint8))).as_numpy().shape == (size,)
