"""The zygote's frames as the host reads them: however they are cut, and whatever is wrong with them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringline.control import frames
from ringline.host.zygote_client import ZygoteClient, _frame

headers = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name not in ("body", "ev")),
    st.integers() | st.text(max_size=20),
    max_size=4,
)
EVENTS = st.lists(st.tuples(headers, st.binary(max_size=200)), max_size=6)


class Client(ZygoteClient):
    """A client whose zygote is a byte string."""

    def __init__(self) -> None:
        self.events: list[tuple[dict[str, Any], bytes]] = []
        self.lost: list[str] = []
        self.refuses = ""
        super().__init__("s1", Path("/nowhere"), self.take, self.lost.append, os.environ)

    def take(self, event: dict[str, Any], body: bytes) -> None:
        self.events.append((event, body))
        if event.get("ev") == self.refuses:
            raise ValueError("an application's callback")

    async def hear(self, *chunks: bytes) -> None:
        """Read these bytes and then the end of the stream."""
        reader = asyncio.StreamReader()
        reading = asyncio.create_task(self._read(reader))
        for chunk in chunks:
            reader.feed_data(chunk)
            await asyncio.sleep(0)
        reader.feed_eof()
        await reading


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in places})
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@settings(max_examples=40)
@given(EVENTS, st.lists(st.integers(0, 1000), max_size=12))
def test_events_are_the_same_however_the_stream_is_cut(
    events: list[tuple[dict[str, Any], bytes]], places: list[int]
) -> None:
    client = Client()
    asyncio.run(client.hear(*cut(b"".join(frames.encode(*event) for event in events), places)))
    assert [({k: v for k, v in header.items() if k != "body"}, body) for header, body in client.events] == events
    assert len(client.lost) == 1


@given(st.binary(max_size=300))
def test_random_bytes_are_a_loss_and_nothing_else(data: bytes) -> None:
    client = Client()
    asyncio.run(client.hear(data))
    [text] = client.lost
    assert text.startswith("the session's zygote is gone (")


def framed(header: bytes) -> bytes:
    return struct.pack("<I", len(header)) + header


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it closed its socket"),
        (b"\x05\x00", "it closed its socket"),
        (framed(b'{"ev": "spawned"}')[:-1], "it closed its socket"),
        (framed(b'{"ev": "log", "body": 10}') + b"short", "it closed its socket"),
        (struct.pack("<I", (4 << 20) + 1), f"it sent a bad frame: header of {(4 << 20) + 1} bytes"),
        (struct.pack("<I", 0xFFFFFFFF), "it sent a bad frame: header of 4294967295 bytes"),
        (framed(b"not json"), "it sent a bad frame: "),
        (framed(b"\xff\xfe"), "it sent a bad frame: "),
        (framed(b'{"ev": "log", "body": "many"}'), "it sent a bad frame: "),
        (framed(b'{"ev": "log", "body": -1}'), "it sent a bad frame: "),
    ],
)
async def test_the_loss_says_what_was_wrong(data: bytes, reason: str) -> None:
    client = Client()
    await client.hear(frames.encode({"ev": "spawned", "node": "a"}), data)
    [text] = client.lost
    assert reason in text
    assert [event["node"] for event, _ in client.events] == ["a"]


@pytest.mark.parametrize(
    "header",
    [b"[]", b"null", b"7", b'"log"', b'{"body": {}}', b'{"body": [1]}', b'{"body": 65537}', b"[" * 100_000],
    ids=lambda header: ascii(header[:20]),
)
async def test_a_header_of_another_shape_is_a_bad_frame(header: bytes) -> None:
    client = Client()
    await client.hear(framed(header))
    [text] = client.lost
    assert "it sent a bad frame" in text


async def test_what_a_callback_raises_does_not_stop_the_reading(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    client.refuses = "log"
    with caplog.at_level(logging.ERROR):
        await client.hear(frames.encode({"ev": "log", "node": "a"}, b"x\n"), frames.encode({"ev": "exit", "node": "a"}))
    assert [event["ev"] for event, _ in client.events] == ["log", "exit"]
    assert "handling a log event of the zygote failed" in caplog.text


async def test_a_hello_is_not_handed_on_and_orders_before_the_start_go_nowhere() -> None:
    client = Client()
    client.spawn("a", 1, {}, ["python"])
    client.signal("a", 1, 9)
    await client.hear(frames.encode({"ev": "hello", "pid": 7}))
    await client.present()
    assert (client.events, client.pid) == ([], None)
    await client.close()


async def test_orders_are_frames_that_the_zygotes_decoder_reads() -> None:
    ours, theirs = socket.socketpair()
    client = Client()
    _, client._writer = await asyncio.open_unix_connection(sock=ours)
    client.spawn("a", 2, {"X": "ä"}, None)
    client.spawn("b", 1, {}, ["/usr/bin/python3", "-m", "x"])
    client.signal("a", 2, 15)
    await client._writer.drain()
    decoded = [header for header, _ in frames.Decoder().feed(theirs.recv(1 << 16))]
    assert decoded == [
        {"op": "spawn", "node": "a", "epoch": 2, "env": {"X": "ä"}, "argv": None},
        {"op": "spawn", "node": "b", "epoch": 1, "env": {}, "argv": ["/usr/bin/python3", "-m", "x"]},
        {"op": "signal", "node": "a", "epoch": 2, "signal": 15, "group": True},
    ]
    await client.close()
    theirs.close()


async def test_both_readers_of_frames_agree() -> None:
    event = {"ev": "exit", "node": "a", "tail": ["ü" * 100], "code": 0}
    data = frames.encode(event, b"\n" * 5)
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    assert await _frame(reader) == next(frames.Decoder().feed(data))
    assert json.loads(data[4:-5])["body"] == 5
