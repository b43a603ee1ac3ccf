"""Control messages: what is written can be read, and nothing else can."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline.control.messages import MAX_BYTES, MAX_DEPTH, Message, MessageType
from ringline.control.seen import Seen
from ringline.errors import ControlError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def wire(**changes: Any) -> bytes:
    record = {"version": 1, "type": "HELLO", "message_id": "1", "timestamp": 0.5, "payload": {}}
    return json.dumps({name: value for name, value in {**record, **changes}.items() if value is not ...}).encode()


def nested(levels: int) -> bytes:
    return wire(payload={"x": 0}).replace(b'{"x": 0}', b'{"x":' * levels + b"0" + b"}" * levels)


@given(st.sampled_from(MessageType), st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_what_is_written_is_read_back(kind: MessageType, payload: dict[str, Any]) -> None:
    message = Message(kind, payload)
    assert Message.from_bytes(message.to_bytes()) == message


def test_a_reply_carries_the_id_of_what_it_answers() -> None:
    question = Message(MessageType.HEALTH_CHECK)
    answer = question.reply(MessageType.HEALTH_CHECK_RESPONSE, {"state": "running"})
    assert (answer.message_id, answer.payload) == (question.message_id, {"state": "running"})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\xff\xfe", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "a JSON list, not an object"),
        (b'"HELLO"', "a JSON str"),
        (b"x" * (MAX_BYTES + 1), f"of {MAX_BYTES + 1} bytes"),
        (wire(type="TELEPORT"), "unknown type 'TELEPORT'"),
        (wire(type=7), "unknown type 7"),
        (wire(type="T" * 1000), "unknown type 'TTT"),
        (wire(version=2), "version 2 is not spoken here, only version 1"),
        (wire(version=...), "version None"),
        (wire(version=True), "version True"),
        (wire(message_id=...), "without a proper message_id"),
        (wire(message_id=""), "without a proper message_id"),
        (wire(message_id="x" * 101), "without a proper message_id"),
        (wire(payload=[]), "without a payload object"),
        (wire(timestamp="now"), "without a timestamp"),
        (wire(timestamp=True), "without a timestamp"),
        (nested(MAX_DEPTH), "nested deeper"),
        (nested(1000), "nested deeper"),
        (b"[" * 30_000, "nested deeper"),
    ],
)
def test_what_is_malformed_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ControlError) as refused:
        Message.from_bytes(data)
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 200


def test_nesting_up_to_the_limit_is_read() -> None:
    assert Message.from_bytes(nested(MAX_DEPTH - 1)).type is MessageType.HELLO


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(ControlError):
        Message.from_bytes(data)


@given(st.data())
def test_a_damaged_message_is_refused_or_still_a_message(data: st.DataObject) -> None:
    raw = bytearray(wire(payload={"status": "loading", "progress": 0.5}))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(Message.from_bytes(bytes(raw)), Message)
    except ControlError:
        pass


@pytest.mark.parametrize("payload", [{"x": object()}, {"x": float("nan")}, {"x": "y" * MAX_BYTES}])
def test_what_can_not_be_sent_is_refused_before_it_is(payload: dict[str, Any]) -> None:
    with pytest.raises(ControlError):
        Message(MessageType.METRICS, payload).to_bytes()


def test_an_id_is_new_once_and_old_ones_are_forgotten_in_order() -> None:
    seen = Seen(kept=2)
    assert [seen.first_time(each) for each in "aabca"] == [True, False, True, True, True]
