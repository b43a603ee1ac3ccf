"""Frames between host and zygote survive any cutting, and what is no frame is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline.control import frames
from ringline.errors import ControlError


@given(
    st.lists(st.tuples(st.dictionaries(st.text(max_size=5), st.integers(), max_size=3), st.binary(max_size=50))),
    st.data(),
)
def test_frames_come_out_whole_however_the_stream_is_cut(
    sent: list[tuple[dict[str, int], bytes]], data: st.DataObject
) -> None:
    sent = [({name: value for name, value in header.items() if name != "body"}, body) for header, body in sent]
    stream = b"".join(frames.encode(header, body) for header, body in sent)
    decoder, got, at = frames.Decoder(), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, 40))
        got += list(decoder.feed(stream[at : at + step]))
        at += step
    expected = [({**header, "body": len(body)} if body else header, body) for header, body in sent]
    assert got == expected


@pytest.mark.parametrize(
    "stream",
    [
        b"\xff\xff\xff\xff",
        b"\x02\x00\x00\x00[]",
        b"\x01\x00\x00\x00x",
        b'\x0c\x00\x00\x00{"body": -1}',
        b'\x10\x00\x00\x00{"body": 100000}',
        b'\x0c\x00\x00\x00{"body":"x"}',
    ],
)
def test_what_is_no_frame_is_refused(stream: bytes) -> None:
    with pytest.raises(ControlError):
        list(frames.Decoder().feed(stream))


def test_a_body_that_is_too_large_is_not_sent() -> None:
    with pytest.raises(ControlError, match="too large"):
        frames.encode({"ev": "log"}, b"x" * (frames.MAX_BODY + 1))
