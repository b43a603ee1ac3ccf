"""What the host's end refuses, message by message, without a peer: and what both ends put on their sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from ringline.control import link, sockets
from ringline.control.link import ControlLink
from ringline.control.messages import MAX_BYTES, Message, MessageType
from ringline.control.server import ControlServer, options
from ringline.control.sockets import HANDSHAKE_MS, HIGH_WATER_MARK, LONGEST_PATH, address, limit
from ringline.errors import ControlError

TOKEN = b"secret"


class Heard(ControlServer):
    """A server without a socket; `answers` are what it would have sent."""

    def __init__(self) -> None:
        self.events: list[tuple[str, MessageType]] = []
        self.answers: list[dict[str, Any]] = []
        super().__init__(Path("/nowhere"), TOKEN.decode(), lambda node, m: self.events.append((node, m.type)))

    def _send(self, identity: bytes, message: Message, node: str) -> None:
        self.answers.append(dict(message.payload))

    def tell(self, kind: MessageType, identity: bytes = b"vad/1", **changes: Any) -> None:
        self._take([identity, TOKEN, wire(kind, **changes)])


def wire(kind: MessageType, **changes: Any) -> bytes:
    record = json.loads(Message(kind).to_bytes())
    return json.dumps(record | changes).encode()


@pytest.fixture
def server() -> Heard:
    server = Heard()
    server.tell(MessageType.HELLO)
    return server


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([b"vad/1"], "frames"),
        ([b"vad/1", TOKEN], "frames"),
        ([b"vad/1", TOKEN, wire(MessageType.READY), b""], "frames"),
        ([b"vad/1"] * 6, "frames"),
        ([b"vad/1", b"", wire(MessageType.READY)], "token"),
        ([b"vad/1", TOKEN + b"x", wire(MessageType.READY)], "token"),
        ([b"vad/1", TOKEN[:-1], wire(MessageType.READY)], "token"),
        ([b"vad", TOKEN, wire(MessageType.READY)], "identity"),
        ([b"\x00auto", TOKEN, wire(MessageType.READY)], "identity"),
        ([b"Vad/1", TOKEN, wire(MessageType.READY)], "identity"),
        ([b"../vad/1", TOKEN, wire(MessageType.READY)], "identity"),
        ([b"vad/-1", TOKEN, wire(MessageType.READY)], "identity"),
        ([b"v" * 41 + b"/1", TOKEN, wire(MessageType.READY)], "identity"),
        ([b"vad/1\n", TOKEN, wire(MessageType.READY)], "identity"),
        ([b"vad/1", TOKEN, b""], "malformed"),
        ([b"vad/1", TOKEN, b"\xff" * 10], "malformed"),
        ([b"vad/1", TOKEN, b"{" * 1000], "malformed"),
        ([b"vad/1", TOKEN, b"[" * (MAX_BYTES + 1)], "malformed"),
        ([b"vad/1", TOKEN, wire(MessageType.READY, version=2)], "malformed"),
        ([b"vad/1", TOKEN, wire(MessageType.READY, type="DANCE")], "malformed"),
        ([b"vad/0", TOKEN, wire(MessageType.READY)], "handshake"),
        ([b"vad/2", TOKEN, wire(MessageType.READY)], "handshake"),
        ([b"asr/1", TOKEN, wire(MessageType.READY)], "handshake"),
    ],
    ids=lambda value: value if isinstance(value, str) else ascii(value)[:40],
)
def test_what_is_wrong_is_counted_under_its_reason_and_not_heard(
    server: Heard, frames: list[bytes], reason: str
) -> None:
    server._take(frames)
    assert (dict(server.refused), server.events) == ({reason: 1}, [])
    server.tell(MessageType.READY)
    assert server.events == [("vad", MessageType.READY)]


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"version": 2}, "control version 2 is not spoken here, only version 1"),
        ({"type": "DANCE"}, "control message of unknown type 'DANCE'"),
        ({"payload": []}, "READY message without a payload object"),
    ],
)
def test_who_has_the_token_is_told_what_is_wrong(server: Heard, changes: dict[str, Any], answer: str) -> None:
    server.tell(MessageType.READY, **changes)
    assert server.answers == [{"reason": "Refused", "error": answer}]


@given(st.lists(st.binary(max_size=60).filter(lambda frame: frame != TOKEN), min_size=1, max_size=6))
def test_nothing_that_a_stranger_sends_is_heard_or_answered(frames: list[bytes]) -> None:
    server = Heard()
    server._take(frames)
    assert (server.events, server.answers, server.refused.total()) == ([], [], 1)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(["HELLO", "READY", "DONE"]), st.integers(1, 3), st.integers(0, 2)), max_size=25)
)
def test_each_event_is_heard_once_and_only_of_the_latest_incarnation(steps: list[tuple[str, int, int]]) -> None:
    server, now, seen, expected = Heard(), 0, set[tuple[str, int]](), []
    for kind, epoch, number in steps:
        server.tell(MessageType(kind), b"vad/%d" % epoch, message_id=f"m{number}")
        if kind == "HELLO" and epoch > now:
            now, seen = epoch, set()
        elif kind != "HELLO" and epoch == now and (kind, number) not in seen:
            seen.add((kind, number))
            expected.append(("vad", MessageType(kind)))
    assert server.events == expected
    assert server.epoch_of("vad") == (now or None)
    assert server.epoch_of("asr") is None


def test_one_that_a_former_host_knew_needs_no_second_hello() -> None:
    server = Heard()
    server.expect("vad", 3)
    server.tell(MessageType.READY, b"vad/3")
    server.tell(MessageType.READY, b"vad/2")
    assert server.events == [("vad", MessageType.READY)]
    assert dict(server.refused) == {"handshake": 1}


async def test_without_a_socket_nothing_can_be_sent(server: Heard) -> None:
    for node in ("vad", "asr"):
        with pytest.raises(ControlError, match=f"node '{node}' is not connected; its STOP was not sent"):
            await server.send(node, Message(MessageType.STOP))
    assert options(server) == {}
    await server.close()


# -- both ends' sockets ------------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[zmq.Socket[bytes], zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    ours, theirs = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    for each in (ours, theirs):
        limit(each)
    ours.bind("inproc://pair")
    theirs.connect("inproc://pair")
    yield ours, theirs
    for each in (ours, theirs):
        each.close()
    context.term()


def test_a_socket_is_bounded_in_every_way(pair: tuple[zmq.Socket[bytes], zmq.Socket[bytes]]) -> None:
    found = {name: pair[0].getsockopt(getattr(zmq, name)) for name in ("LINGER", "SNDHWM", "RCVHWM", "MAXMSGSIZE")}
    assert found == {"LINGER": 0, "SNDHWM": HIGH_WATER_MARK, "RCVHWM": HIGH_WATER_MARK, "MAXMSGSIZE": MAX_BYTES}
    assert pair[0].getsockopt(zmq.HANDSHAKE_IVL) == HANDSHAKE_MS


@pytest.mark.parametrize(("count", "kept"), [(1, 1), (4, 4), (5, 5), (6, 5), (10_000, 5)])
def test_of_too_many_frames_only_the_first_are_kept(
    pair: tuple[zmq.Socket[bytes], zmq.Socket[bytes]], count: int, kept: int
) -> None:
    ours, theirs = pair
    theirs.send_multipart([b"x"] * count)
    theirs.send(b"next")
    assert len(sockets.receive(ours)) == kept
    assert sockets.receive(ours) == [b"next"]
    with pytest.raises(zmq.Again):
        sockets.receive(ours)


@pytest.mark.parametrize("letter", ["a", "ä"])
def test_a_path_may_be_as_long_as_the_kernel_takes(letter: str) -> None:
    fits = Path("/" + letter * ((LONGEST_PATH - 1) // len(letter.encode())))
    assert address(fits) == f"ipc://{fits}"
    with pytest.raises(ControlError, match=f"at most {LONGEST_PATH} work; use a shorter session id"):
        address(Path(f"{fits}bb"))


def test_a_queue_that_nobody_empties_keeps_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_MOST_WAITING", 3)
    waiting = ControlLink(Path("/x"), "t", "vad", 1, on_command=lambda _: None, on_tick=lambda: 1.0)
    for kind in (MessageType.PROGRESS, MessageType.READY) * 4:
        waiting.send(Message(kind))
    waiting.close()
    kinds = [message.type for message in waiting._waiting]
    assert (kinds.count(MessageType.PROGRESS), kinds.count(MessageType.READY)) == (2, 4)


def test_there_is_nothing_else_to_take_from_the_link() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'ControlClient'"):
        _ = link.ControlClient
