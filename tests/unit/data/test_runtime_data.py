"""A message: what it accepts, how it is looked at, and when its block goes back."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from ringline.data.runtime_data import RuntimeData
from ringline.data.types import AudioMetadata, DataType, Metadata, TextMetadata
from ringline.errors import DataError, LeaseReleasedError
from tests.unit.data.leases import lease_of, over_the_wire


def received_audio() -> RuntimeData:
    return over_the_wire(RuntimeData.audio(np.arange(8, dtype=np.float32), 8000), "call")


def test_the_documented_constructor_keeps_every_field() -> None:
    samples = np.zeros(10, np.float32)
    data = RuntimeData(
        type=DataType.AUDIO,
        payload=samples,
        session_id="session_123",
        timestamp=20,
        metadata=AudioMetadata(sample_rate=24000, channels=1, format="f32"),
    )
    assert data.payload is samples
    assert (data.type, data.session_id, data.timestamp) == (DataType.AUDIO, "session_123", 20)
    assert data.metadata.sample_rate == 24000
    assert (data.sequence, data.port, data.origin, data.lease) == (None, "", 0, None)


def test_a_time_that_is_not_given_is_zero() -> None:
    assert RuntimeData.text("a").timestamp == 0


def test_a_numpy_integer_is_a_time() -> None:
    assert RuntimeData.text("a", timestamp=np.int64(5)).timestamp == 5  # type: ignore[arg-type]


@pytest.mark.parametrize("timestamp", [1 << 63, -(1 << 63) - 1, 0.5, "now"])
def test_a_time_that_is_no_64_bit_integer_is_refused(timestamp: Any) -> None:
    with pytest.raises(DataError, match="timestamp"):
        RuntimeData.text("a", timestamp=timestamp)


@pytest.mark.parametrize("timestamp", [(1 << 63) - 1, -(1 << 63)])
def test_the_ends_of_time_are_accepted(timestamp: int) -> None:
    assert over_the_wire(RuntimeData.text("a", timestamp=timestamp)).timestamp == timestamp


def test_a_type_may_be_given_by_its_name() -> None:
    assert RuntimeData("audio", np.zeros(1)).type is DataType.AUDIO


def test_an_unknown_type_is_refused_with_the_list_of_types() -> None:
    with pytest.raises(DataError, match="'smell' is not a data type; the types are audio, video, text"):
        RuntimeData("smell", b"")


@pytest.mark.parametrize(
    ("data_type", "payload", "says"),
    [
        ("audio", None, "must be a numpy array, not NoneType"),
        ("audio", "text", "must be a numpy array, not str"),
        ("audio", b"\0\0", "bytes, which have no dtype; use numpy.frombuffer"),
        ("audio", np.array([{}]), "dtype object can't be sent; use numbers or booleans"),
        ("tensor", np.array(["a"]), "can't be sent; use numbers or booleans"),
        ("tensor", np.zeros(2, [("a", "f4")]), "one message per field"),
        ("tensor", np.zeros(2, "M8[ns]"), r"use .view\('int64'\)"),
        ("tensor", np.zeros(2, np.longdouble), "astype"),
        ("tensor", np.ma.masked_array([1, 2], [True, False]), "masked array"),
        ("tensor", [[1], [1, 2]], "can't become a numpy array"),
        ("text", b"bytes", "must be a str, not bytes"),
        ("file", 5, "must be a path, not int"),
        ("file", "a\0b", "NUL character"),
        ("json", b"bytes", "must be a JSON value"),
        ("control", {1, 2}, "must be a JSON value"),
        ("binary", "text", "must be bytes-like, not str"),
    ],
)
def test_a_payload_of_the_wrong_kind_is_refused_where_it_is_made(data_type: str, payload: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        RuntimeData(data_type, payload)


def test_more_dimensions_than_can_be_sent_are_refused() -> None:
    deep = np.zeros((1,) * 32)
    assert over_the_wire(RuntimeData.tensor(deep)).as_numpy().ndim == 32
    with pytest.raises(DataError, match="33 dimensions"):
        RuntimeData.tensor(_one_more_dimension(deep))


def _one_more_dimension(array: np.ndarray[Any, Any]) -> Any:
    try:
        return array[np.newaxis]
    except (IndexError, ValueError):
        pytest.skip("this numpy has no arrays of 33 dimensions")


def test_a_received_array_is_a_read_only_view_of_the_block() -> None:
    data = received_audio()
    array = data.as_numpy()
    lease_of(data)[0:4] = np.float32(99).tobytes()
    assert array[0] == 99
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_nothing_looks_at_the_block_before_somebody_asks() -> None:
    data = received_audio()
    assert (data.size(), repr(data) != "") == (32, True)
    assert not lease_of(data).looked_at


def test_an_array_or_any_slice_of_it_keeps_the_block() -> None:
    data = received_audio()
    lease = lease_of(data)
    part = data.as_numpy()[2:4]
    data.release()
    assert lease.released
    assert lease.looked_at
    assert list(part) == [2, 3]
    del part
    assert not lease.looked_at


def test_a_binary_payload_keeps_the_block_too() -> None:
    data = over_the_wire(RuntimeData.binary(b"abc"))
    lease, view = lease_of(data), data.payload
    assert view.readonly
    data.release()
    assert lease.looked_at
    view.release()
    assert not lease.looked_at


def test_a_copy_outlives_its_block_and_can_be_written() -> None:
    data = received_audio()
    lease = lease_of(data)
    kept = data.copy()
    data.release()
    assert not lease.looked_at
    kept.as_numpy()[0] = 7
    assert list(kept.as_numpy()[:2]) == [7, 1]
    assert (kept.metadata, kept.session_id, kept.lease) == (data.metadata, "call", None)


@pytest.mark.parametrize("message", [RuntimeData.binary(b"a"), RuntimeData.json({"a": [1]}), RuntimeData.text("t")])
def test_a_copy_of_any_type_has_the_same_payload(message: RuntimeData) -> None:
    kept = over_the_wire(message).copy()
    assert kept.payload == message.payload


def test_after_release_nothing_can_be_read() -> None:
    for data in (received_audio(), RuntimeData.audio(np.zeros(3), 8000)):
        data.as_numpy()
        data.release()
        data.release()
        assert data.released
        for read in (data.as_numpy, data.copy, data.size, lambda data=data: data.payload):
            with pytest.raises(LeaseReleasedError, match=r"this audio message was released; take .copy\(\)"):
                read()
        assert "released" in repr(data)


def test_a_message_that_is_forgotten_forgets_its_block() -> None:
    data = received_audio()
    lease = weakref.ref(lease_of(data))
    del data
    gc.collect()
    assert lease() is None


def test_with_changes_fields_and_passes_the_block_on() -> None:
    data = received_audio()
    other = data.with_(timestamp=9, session_id="b", port="out", metadata={"sample_rate": 16000})
    assert (other.timestamp, other.session_id, other.port) == (9, "b", "out")
    assert other.metadata == AudioMetadata(16000)
    assert other.lease is data.lease
    assert (data.timestamp, data.session_id, data.metadata.sample_rate) == (0, "call", 8000)
    data.release()
    assert other.released


def test_with_another_payload_gives_up_the_block() -> None:
    data = received_audio()
    other = data.with_(payload=data.as_numpy() * 2)
    assert other.lease is None
    data.release()
    assert list(other.as_numpy()[:2]) == [0, 2]


def test_with_another_type_of_the_same_form_shows_the_same_block() -> None:
    assert received_audio().with_(type="tensor").as_numpy()[3] == 3


def test_with_refuses_what_does_not_fit() -> None:
    with pytest.raises(DataError, match="can't become text with the same payload"):
        received_audio().with_(type="text")
    with pytest.raises(DataError, match="has no field 'volume'; its fields are payload, metadata"):
        received_audio().with_(volume=3)
    with pytest.raises(DataError, match="64 bits"):
        received_audio().with_(timestamp=1 << 64)


def test_messages_are_equal_only_to_themselves() -> None:
    data = RuntimeData.text("a")
    assert data == data
    assert data != RuntimeData.text("a")
    assert len({data, data.with_()}) == 2


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (RuntimeData.audio(np.zeros(480, "f4"), 48000, timestamp=10**7), "<RuntimeData audio 480 float32 t=0.010s>"),
        (
            RuntimeData.tensor(np.zeros((2, 3)), session_id="s"),
            "<RuntimeData tensor 2x3 float64 t=0.000s session_id='s'>",
        ),
        (RuntimeData.tensor(1.5), "<RuntimeData tensor scalar float64 t=0.000s>"),
        (RuntimeData.text("x" * 500), "<RuntimeData text '" + "x" * 59 + " t=0.000s>"),
        (RuntimeData.binary(b"abc"), "<RuntimeData binary 3 bytes t=0.000s>"),
    ],
)
def test_a_message_shows_itself_in_one_short_line(data: RuntimeData, shown: str) -> None:
    assert repr(data) == shown


def test_text_json_and_numbers_are_read_where_they_make_sense() -> None:
    assert RuntimeData.binary(b'{"a": 1}').as_json() == {"a": 1}
    assert RuntimeData.text("[1]").as_json() == [1]
    assert RuntimeData.binary("hé".encode()).as_text() == "hé"
    assert RuntimeData.file("/a").as_text() == "/a"
    assert RuntimeData.binary(memoryview(b"abcd")[::2]).as_numpy().tolist() == [97, 99]
    assert RuntimeData.binary(np.array([1, 2], "<u2")).as_numpy().tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize("read", ["as_numpy", "as_text", "as_json"])
def test_reading_what_a_type_does_not_hold_is_refused(read: str) -> None:
    wrong = {"as_numpy": RuntimeData.text("a"), "as_text": RuntimeData.json(1), "as_json": RuntimeData.tensor(1)}[read]
    with pytest.raises(DataError, match=r"use \.payload"):
        getattr(wrong, read)()


def test_sizes_are_bytes_on_the_wire() -> None:
    assert RuntimeData.audio(np.zeros(480, np.int16), 48000).size() == 960
    assert RuntimeData.text("é").size() == 2
    assert RuntimeData.json({"a": 1}).size() == len('{"a":1}')
    assert RuntimeData.binary(np.zeros(3, np.int32)).size() == 12
    assert RuntimeData.file("/é").size() == 3


def test_a_plain_mapping_becomes_the_types_metadata() -> None:
    data = RuntimeData("text", "a", metadata={"language": "de", "speaker": 3, "extra": {"x": 1}})
    assert data.metadata == TextMetadata("de", extra={"speaker": 3, "x": 1})


def test_a_mapping_without_the_required_fields_becomes_plain_metadata() -> None:
    assert RuntimeData("audio", np.zeros(1), metadata={"channels": 2}).metadata == Metadata(extra={"channels": 2})
    assert RuntimeData("binary", b"", metadata={"a": 1}).metadata == Metadata(extra={"a": 1})


def test_metadata_of_no_known_kind_is_refused() -> None:
    with pytest.raises(DataError, match="metadata must be a metadata object or a mapping, not int"):
        RuntimeData("text", "a", metadata=5)  # type: ignore[arg-type]
