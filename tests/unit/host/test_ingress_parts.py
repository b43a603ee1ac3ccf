"""The ingress without a socket: who is let in, how fast, and how messages look in both sub-protocols."""

from __future__ import annotations

import json
import time
from http import HTTPStatus

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline import RuntimeData
from ringline.data.codec import encode
from ringline.errors import DataError
from ringline.host.ingress_door import Door, Refusal, Wish, chosen
from ringline.host.ingress_forms import Frames, Pcm
from ringline.host.ingress_rates import Bucket, Failures

TOKEN = "s3cret"
BEARER = f"Bearer {TOKEN}"


def door() -> Door:
    return Door(TOKEN, ["micro_phone", "text"], ["speaker"])


@pytest.mark.parametrize(
    ("path", "wish"),
    [
        ("/v1/inputs/text", Wish("text")),
        ("/v1/inputs/micro-phone", Wish("micro_phone")),
        ("/v1/inputs/micro_phone?rate=8000&channels=2", Wish("micro_phone", "", 8000, 2)),
        ("/v1/outputs/speaker", Wish("", "speaker")),
        ("/v1/inputs/text/outputs/speaker/", Wish("text", "speaker")),
        ("/v1/inputs/micro%5Fphone", Wish("micro_phone")),
    ],
)
def test_a_path_says_what_a_client_wants(path: str, wish: Wish) -> None:
    assert door().admit(path, BEARER, []) == wish


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", HTTPStatus.NOT_FOUND),
        ("/v1", HTTPStatus.NOT_FOUND),
        ("/v1/inputs/", HTTPStatus.NOT_FOUND),
        ("/v1/inputs/speaker", HTTPStatus.NOT_FOUND),
        ("/v1/inputs/text/outputs/text", HTTPStatus.NOT_FOUND),
        ("/v1/inputs/text?channels=x", HTTPStatus.BAD_REQUEST),
        ("/v1/inputs/" + "x" * 5000, HTTPStatus.NOT_FOUND),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_with_what_there_is(path: str, status: HTTPStatus) -> None:
    with pytest.raises(Refusal) as refused:
        door().admit(path, BEARER, [])
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("authorization", "offered"),
    [
        (BEARER, []),
        (f"bearer {TOKEN}", []),
        ("", ["pcm", f"ringline.bearer.{TOKEN}"]),
        ("Bearer old", [f"ringline.bearer.{TOKEN}"]),
    ],
)
def test_the_token_comes_in_a_header_or_as_a_sub_protocol(authorization: str, offered: list[str]) -> None:
    assert door().admit("/v1/inputs/text", authorization, offered).input == "text"


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer ü"]
)
def test_without_the_token_nobody_learns_what_there_is(authorization: str) -> None:
    with pytest.raises(Refusal) as refused:
        door().admit("/v1/inputs/text", authorization, ["pcm"])
    assert refused.value.status == HTTPStatus.UNAUTHORIZED
    assert TOKEN not in str(refused.value)


def test_who_guesses_too_often_is_not_listened_to() -> None:
    entry = door()
    for _ in range(20):
        with pytest.raises(Refusal):
            entry.admit("/v1/inputs/text", "Bearer guess", [])
    with pytest.raises(Refusal) as refused:
        entry.admit("/v1/inputs/text", BEARER, [])
    assert refused.value.status == HTTPStatus.TOO_MANY_REQUESTS


def test_failures_are_forgotten() -> None:
    failures = Failures(most=2, window_s=0.01)
    failures.note()
    assert not failures.too_many
    failures.note()
    time.sleep(0.02)
    assert not failures.too_many


async def test_a_bucket_lets_a_burst_through_and_then_keeps_the_rate() -> None:
    bucket = Bucket(rate=100.0, burst=5.0)
    start = time.monotonic()
    for _ in range(10):
        await bucket.take()
    assert time.monotonic() - start >= 0.03


@pytest.mark.parametrize(
    ("offered", "choice"),
    [([], None), (["chat"], None), (["chat", "pcm"], "pcm"), (["ringline.v1", "pcm"], "ringline.v1")],
)
def test_the_first_known_sub_protocol_is_spoken(offered: list[str], choice: str | None) -> None:
    assert chosen(offered) == choice


@pytest.mark.parametrize(
    "data",
    [
        RuntimeData.audio(np.zeros(0, np.float32), 16000),
        RuntimeData.audio(np.ones((4, 2), np.int16), 8000, 2, timestamp=5),
        RuntimeData.video(np.zeros((2, 3, 3), np.uint8)),
        RuntimeData.tensor(np.array(3.5)),
        RuntimeData.text(""),
        RuntimeData.json({"a": [1, None]}),
        RuntimeData.binary(b"\x00"),
    ],
)
def test_a_frame_carries_every_kind_of_message(data: RuntimeData) -> None:
    form = Frames(1 << 20)
    (wire,) = form.write(data)
    header, back = form.read(wire)
    assert header["op"] == "data"
    assert back is not None
    assert (back.type, back.timestamp) == (data.type, data.timestamp)
    assert bytes(encode(back).payload) == bytes(encode(data).payload)


def test_a_header_alone_may_come_as_text() -> None:
    form = Frames(10)
    assert form.read('{"op": "flush", "node": "a"}') == ({"op": "flush", "node": "a"}, None)
    assert form.read(form.say({"op": "end"})) == ({"op": "end"}, None)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_nothing_else(wire: bytes) -> None:
    with pytest.raises(DataError):
        Frames(100).read(wire)


@given(
    st.dictionaries(
        st.sampled_from(["op", "type", "dtype", "shape", "body", "metadata", "timestamp"]), st.text(max_size=5)
    )
)
def test_random_headers_are_refused_or_harmless(fields: dict[str, str]) -> None:
    text = json.dumps(fields).encode()
    wire = len(text).to_bytes(4, "little") + text
    try:
        header, _ = Frames(100).read(wire)
    except DataError:
        return
    assert header == fields


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "smell"},
        {"type": None},
        {"type": "text", "timestamp": 1e30},
        {"type": "text", "metadata": []},
        {"type": "audio", "dtype": "<f4", "shape": [0], "metadata": {"sample_rate": "fast"}},
        {"type": "audio", "dtype": "<f4", "shape": [0], "metadata": {"sample_rate": -1}},
        {"type": "audio", "dtype": "object", "shape": [0]},
        {"type": "tensor", "dtype": "<f4", "shape": [2**62, 2**62]},
    ],
)
def test_a_header_that_lies_gets_a_sentence(fields: dict[str, object]) -> None:
    with pytest.raises(DataError):
        Frames(100).read(json.dumps({"op": "data", **fields}))


def test_a_body_must_be_as_long_as_its_header_says() -> None:
    (wire,) = Frames(100).write(RuntimeData.text("hello"))
    assert isinstance(wire, bytes)
    with pytest.raises(DataError, match="announces 5 bytes, 4 follow"):
        Frames(100).read(wire[:-1])
    with pytest.raises(DataError, match="at most 4"):
        Frames(4).read(wire)


def test_samples_become_sound_with_the_time_since_the_first_one() -> None:
    form = Pcm(8000, 1)
    samples = np.array([0, 32767, -32768], "<i2")
    _, first = form.read(samples.tobytes())
    _, second = form.read(samples.tobytes())
    assert first is not None
    assert second is not None
    assert first.as_numpy().dtype == np.float32
    assert np.allclose(first.as_numpy(), samples / 32768)
    assert (first.timestamp, second.timestamp) == (0, 375_000)


def test_two_channels_are_interleaved() -> None:
    _, data = Pcm(48000, 2).read(np.arange(8, dtype="<i2").tobytes())
    assert data is not None
    assert data.as_numpy().shape == (4, 2)


@pytest.mark.parametrize(("rate", "channels"), [(0, 1), (-1, 1), (3999, 1), (400_000, 1), (16000, 0), (16000, 9)])
def test_an_impossible_microphone_is_refused(rate: int, channels: int) -> None:
    with pytest.raises(DataError, match="can be sent"):
        Pcm(rate, channels)


@pytest.mark.parametrize(("channels", "wire"), [(1, b"\x00"), (2, b"\x00\x00"), (4, b"\x00" * 12)])
def test_half_a_sample_is_refused(channels: int, wire: bytes) -> None:
    with pytest.raises(DataError, match="no whole 16-bit samples"):
        Pcm(16000, channels).read(wire)


def test_sound_says_its_format_once_and_again_when_it_changes() -> None:
    form = Pcm(16000, 1)
    low, high = (RuntimeData.audio(np.zeros(4, np.float32), rate) for rate in (8000, 22050))
    assert [len(form.write(data)) for data in (low, low, high)] == [2, 1, 2]
    assert json.loads(form.write(low)[0]) == {"op": "format", "sample_rate": 8000, "channels": 1}


def test_what_is_no_sound_comes_as_json() -> None:
    form = Pcm(16000, 1)
    assert json.loads(form.write(RuntimeData.text("hi"))[0])["payload"] == "hi"
    assert json.loads(form.write(RuntimeData.json([1]))[0])["payload"] == [1]
    assert json.loads(form.write(RuntimeData.tensor(np.zeros(4)))[0])["dropped_bytes"] == 32


@given(st.binary(max_size=64))
def test_samples_go_through_unchanged(wire: bytes) -> None:
    wire = wire[: len(wire) // 2 * 2]
    form = Pcm(16000, 1)
    _, data = form.read(wire)
    assert data is not None
    assert form.write(data)[-1] == wire
