"""Who may in at the WebSocket ingress, how fast, and how messages look there: the pure parts."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline.data import RuntimeData
from ringline.errors import DataError
from ringline.host import framing, ingress_rates
from ringline.host.ingress_door import Door, Refusal, Wish, chosen
from ringline.host.ingress_forms import Frames, Pcm
from ringline.host.ingress_rates import Bucket, Failures

# -- the door ----------------------------------------------------------------------------------------------------------


def door() -> Door:
    return Door("s3cret", ["mic", "text-in"], ["voice"])


@pytest.mark.parametrize(
    ("path", "wish"),
    [
        ("/v1/inputs/mic", Wish("mic")),
        ("/v1/outputs/voice", Wish("", "voice")),
        ("/v1/inputs/text_in/outputs/voice?rate=48000&channels=2", Wish("text-in", "voice", 48000, 2)),
        ("/v1/inputs/text%2Din", Wish("text-in")),
    ],
)
@pytest.mark.parametrize(
    ("authorization", "offered"),
    [
        ("Bearer s3cret", []),
        ("bearer  s3cret ", ["pcm"]),
        ("", ["pcm", "ringline.bearer.s3cret"]),
        ("Basic x", ["ringline.bearer.wrong", "ringline.bearer.s3cret"]),
    ],
)
def test_who_has_the_token_is_let_in(path: str, wish: Wish, authorization: str, offered: list[str]) -> None:
    assert door().admit(path, authorization, offered) == wish


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Bearer s3cre", "s3cret", "Basic s3cret", "Bearer ü"]
)
def test_who_has_not_is_refused(authorization: str) -> None:
    with pytest.raises(Refusal, match="a bearer token is needed") as refused:
        door().admit("/v1/inputs/mic", authorization, ["s3cret", "pcm"])
    assert refused.value.status is HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/", HTTPStatus.NOT_FOUND, "there are /v1/inputs/NAME"),
        ("/v2/inputs/mic", HTTPStatus.NOT_FOUND, "there are /v1/inputs/NAME"),
        ("/v1/inputs/mic/outputs", HTTPStatus.NOT_FOUND, "there are /v1/inputs/NAME"),
        ("/v1/inputs/voice", HTTPStatus.NOT_FOUND, r"the session has no input 'voice' \(it has: mic, text-in\)"),
        ("/v1/outputs/%E2%80%AE", HTTPStatus.NOT_FOUND, r"no output '\\u202e' \(it has: voice\)"),
        ("/v1/inputs/mic?rate=fast", HTTPStatus.BAD_REQUEST, "rate and channels are whole numbers"),
        ("/v1/inputs/mic?channels=1.5", HTTPStatus.BAD_REQUEST, "rate and channels are whole numbers"),
    ],
)
def test_what_is_not_there_is_told_only_to_who_has_the_token(path: str, status: HTTPStatus, text: str) -> None:
    with pytest.raises(Refusal, match=text) as refused:
        door().admit(path, "Bearer s3cret", [])
    assert refused.value.status is status
    with pytest.raises(Refusal) as stranger:
        door().admit(path, "Bearer guess", [])
    assert stranger.value.status is HTTPStatus.UNAUTHORIZED


def test_while_wrong_tokens_rain_nobody_is_let_in() -> None:
    closing = door()
    statuses = []
    for _ in range(22):
        with pytest.raises(Refusal) as refused:
            closing.admit("/v1/inputs/mic", "Bearer guess", [])
        statuses.append(refused.value.status.value)
    assert statuses == [401] * 20 + [429] * 2
    with pytest.raises(Refusal, match="too many wrong tokens; wait ten seconds"):
        closing.admit("/v1/inputs/mic", "Bearer s3cret", [])


@pytest.mark.parametrize(
    ("offered", "found"),
    [([], None), (["pcm"], "pcm"), (["mqtt", "ringline.v1", "pcm"], "ringline.v1"), (["ringline.bearer.x"], None)],
)
def test_the_first_sub_protocol_that_is_spoken_is_chosen(offered: list[str], found: str | None) -> None:
    assert chosen(offered) == found


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ingress_rates, "time", clock)
    monkeypatch.setattr(ingress_rates, "asyncio", clock)
    return clock


@pytest.mark.parametrize(("count", "passed"), [(4, 0.0), (5, 0.1), (14, 1.0)])
async def test_who_sends_too_fast_waits(clock: Clock, count: int, passed: float) -> None:
    bucket = Bucket(rate=10.0, burst=4.0)
    for _ in range(count):
        await bucket.take()
    assert clock.now - 100.0 == pytest.approx(passed)


def test_failures_count_within_their_window_only(clock: Clock) -> None:
    failures = Failures(most=2, window_s=10.0)
    failures.note()
    assert not failures.too_many
    clock.now += 9.0
    failures.note()
    assert failures.too_many
    clock.now += 1.5
    assert not failures.too_many


# -- frames on a WebSocket ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"", "a frame begins with 4 bytes"),
        (b"\x01\x00\x00", "a frame begins with 4 bytes"),
        (b"\xff\xff\xff\xff{}", "a frame begins with 4 bytes"),
        (b"\x10\x00\x00\x00{}", "a frame begins with 4 bytes"),
        ('{"op": "data", "type": "binary", "body": 5}', "the header announces 5 bytes, 0 follow it"),
        (b"".join(framing.pack({"op": "data", "type": "binary", "body": 3})) + b"xx", "announces 3 bytes, 2 follow"),
    ],
)
def test_a_frame_that_is_none_is_refused(wire: str | bytes, text: str) -> None:
    with pytest.raises(DataError, match=text):
        Frames(1 << 16).read(wire)


def test_a_message_comes_through_both_forms() -> None:
    data = RuntimeData.audio(np.array([0.0, 0.5, -0.5], np.float32), 16000, 1)
    frames, pcm = Frames(1 << 16), Pcm(16000, 1)
    [wire] = frames.write(data)
    header, back = frames.read(wire)
    assert header["op"] == "data"
    assert back is not None
    assert back.as_numpy().tolist() == data.as_numpy().tolist()
    told, samples = pcm.write(data)
    assert json.loads(told) == {"op": "format", "sample_rate": 16000, "channels": 1}
    assert len(pcm.write(data)) == 1
    heard = pcm.read(samples)[1]
    assert heard is not None
    assert np.allclose(heard.as_numpy().ravel(), [0.0, 0.5, -0.5], atol=1e-4)


@pytest.mark.parametrize(("rate", "channels"), [(3999, 1), (384001, 1), (16000, 0), (16000, 9), (-1, 1)])
def test_an_impossible_format_is_refused(rate: int, channels: int) -> None:
    with pytest.raises(DataError, match="4000 to 384000 Hz and 1 to 8 channels can be sent"):
        Pcm(rate, channels)


@given(st.integers(1, 8), st.lists(st.integers(0, 30), min_size=1, max_size=6))
def test_pcm_time_goes_on_with_its_samples(channels: int, counts: list[int]) -> None:
    pcm, before = Pcm(8000, channels), 0
    for count in counts:
        data = pcm.read(b"\0\0" * count * channels)[1]
        assert data is not None
        assert data.timestamp == before * 1_000_000_000 // 8000
        before += count
    with pytest.raises(DataError, match="are no whole 16-bit samples of"):
        pcm.read(b"\0" * (2 * channels + 1))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (RuntimeData.text("hi"), {"type": "text", "payload": "hi"}),
        (RuntimeData.json({"a": 1}), {"type": "json", "payload": {"a": 1}}),
        (RuntimeData.binary(b"12345"), {"type": "binary", "dropped_bytes": 5}),
    ],
)
def test_what_is_no_sound_is_said_in_words(data: RuntimeData, said: dict[str, Any]) -> None:
    [text] = Pcm(16000, 1).write(data)
    assert json.loads(text) == {"op": "data", "timestamp": data.timestamp, **said}
