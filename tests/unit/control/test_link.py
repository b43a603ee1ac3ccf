"""The two ends of the control link, over a real socket: round trips, and everything that a stranger may send."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from ringline.control.link import ControlLink, ControlServer
from ringline.control.messages import MAX_BYTES, Message, MessageType
from ringline.control.server import options
from ringline.control.sockets import LONGEST_PATH
from ringline.errors import ControlError

TOKEN = "the-token-of-this-session"


class Host:
    """A server and what it heard."""

    def __init__(self, path: Path) -> None:
        self.heard: asyncio.Queue[tuple[str, Message]] = asyncio.Queue()
        self.server = ControlServer(path, TOKEN, lambda node, message: self.heard.put_nowait((node, message)))

    async def next(self) -> tuple[str, Message]:
        return await asyncio.wait_for(self.heard.get(), 60)

    async def until_refused(self, reason: str, count: int = 1) -> None:
        while self.server.refused[reason] < count:
            await asyncio.sleep(0.005)


@pytest.fixture
async def host(shm_root: Path) -> AsyncIterator[Host]:
    host = Host(shm_root / "control")
    await host.server.start()
    yield host
    await host.server.close()


class Node:
    """The other end, as the runner uses it."""

    def __init__(self, host: Host, token: str = TOKEN, node: str = "vad", epoch: int = 1) -> None:
        self.commands: list[Message] = []
        self.ticks = 0
        self.came = threading.Event()
        self.link = ControlLink(host.server.path, token, node, epoch, on_command=self._take, on_tick=self._tick)

    def _take(self, message: Message) -> None:
        self.commands.append(message)
        self.came.set()
        if message.type is MessageType.HEALTH_CHECK:
            self.link.send(message.reply(MessageType.HEALTH_CHECK_RESPONSE, {"state": "running"}))
        if message.type is MessageType.CANCEL:
            raise RuntimeError("a command that fails")

    def _tick(self) -> float:
        self.ticks += 1
        return 0.02

    def __enter__(self) -> Node:
        self.link.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()


@contextmanager
def stranger(host: Host, identity: bytes = b"vad/1") -> Iterator[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    raw = context.socket(zmq.DEALER)
    raw.setsockopt(zmq.LINGER, 0)
    raw.setsockopt(zmq.IDENTITY, identity)
    raw.connect(f"ipc://{host.server.path}")
    try:
        yield raw
    finally:
        raw.close()
        context.term()


def hello(node: str = "vad") -> bytes:
    return Message(MessageType.HELLO, {"node": node}).to_bytes()


async def still_serves(host: Host) -> None:
    with Node(host, node="witness") as node:
        node.link.send(Message(MessageType.READY))
        while (await host.next())[0] != "witness":
            pass


async def test_events_and_commands_go_both_ways_and_a_reply_is_matched(host: Host) -> None:
    with Node(host) as node:
        node.link.send(Message(MessageType.PROGRESS, {"progress": 0.5}))
        assert (await host.next())[1].payload == {"progress": 0.5}
        question = Message(MessageType.HEALTH_CHECK)
        await host.server.send("vad", question)
        name, answer = await host.next()
    assert (name, answer.type, answer.message_id) == ("vad", MessageType.HEALTH_CHECK_RESPONSE, question.message_id)
    assert host.server.epoch_of("vad") == 1


async def test_what_was_queued_before_the_end_still_leaves(host: Host) -> None:
    with Node(host) as node:
        for number in range(50):
            node.link.send(Message(MessageType.METRICS, {"number": number}))
        node.link.send(Message(MessageType.DONE))
    got = [(await host.next())[1] for _ in range(51)]
    assert [message.payload.get("number") for message in got] == [*range(50), None]


async def test_ticks_come_by_themselves_and_a_failing_command_harms_nobody(host: Host) -> None:
    with Node(host) as node:
        node.link.send(Message(MessageType.READY))
        await host.next()
        await host.server.send("vad", Message(MessageType.CANCEL))
        await asyncio.to_thread(node.came.wait, 60)
        before = node.ticks
        while node.ticks < before + 3:
            await asyncio.sleep(0.01)


async def test_a_command_that_comes_twice_acts_once(host: Host) -> None:
    with Node(host) as node:
        node.link.send(Message(MessageType.READY))
        await host.next()
        command, last = Message(MessageType.FLUSH), Message(MessageType.HEALTH_CHECK)
        for message in (command, command, last):
            await host.server.send("vad", message)
        await host.next()
    assert [message.type for message in node.commands] == [MessageType.FLUSH, MessageType.HEALTH_CHECK]


async def test_an_event_that_is_replayed_is_heard_once(host: Host) -> None:
    with stranger(host) as raw:
        ready = Message(MessageType.READY).to_bytes()
        for data in (hello(), ready, ready, Message(MessageType.DONE).to_bytes()):
            raw.send_multipart([TOKEN.encode(), data])
        kinds = [(await host.next())[1].type for _ in range(2)]
    assert kinds == [MessageType.READY, MessageType.DONE]


async def test_a_command_to_nobody_says_so(host: Host) -> None:
    with pytest.raises(ControlError, match="'ghost' is not connected; its START was not sent"):
        await host.server.send("ghost", Message(MessageType.START))


async def test_a_node_of_a_later_epoch_replaces_the_earlier_one(host: Host) -> None:
    with Node(host, epoch=1) as old, Node(host, epoch=2) as new:
        new.link.send(Message(MessageType.READY))
        await host.next()
        old.link.send(Message(MessageType.READY))
        await host.until_refused("handshake")
        assert host.server.epoch_of("vad") == 2
    assert host.heard.empty()


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", "another-session's-token"])
async def test_without_the_token_nothing_is_heard(host: Host, token: str) -> None:
    with Node(host, token=token) as node:
        node.link.send(Message(MessageType.READY))
        await host.until_refused("token", 2)
    assert host.heard.empty()


@pytest.mark.parametrize("identity", [b"vad", b"../etc/1", b"vad/x", b"VAD/1", b"x" * 200])
async def test_a_wrong_identity_is_refused(host: Host, identity: bytes) -> None:
    with stranger(host, identity) as raw:
        raw.send_multipart([TOKEN.encode(), hello()])
        await host.until_refused("identity")
    await still_serves(host)


async def test_an_event_without_a_hello_is_refused(host: Host) -> None:
    with stranger(host) as raw:
        raw.send_multipart([TOKEN.encode(), Message(MessageType.READY).to_bytes()])
        await host.until_refused("handshake")


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([b""], "frames"),
        ([TOKEN.encode()], "frames"),
        ([TOKEN.encode(), b"a", b"b"], "frames"),
        ([b"x"] * 10_000, "frames"),
        ([TOKEN.encode(), b""], "malformed"),
        ([TOKEN.encode(), os.urandom(500)], "malformed"),
        ([TOKEN.encode(), b"[" * 5000], "malformed"),
        ([TOKEN.encode(), hello().replace(b'"HELLO"', b'"WHAT"')], "malformed"),
    ],
    ids=["one-empty", "token-only", "three", "ten-thousand", "empty", "random", "nested", "unknown-tag"],
)
async def test_what_a_stranger_sends_is_counted_and_dropped(host: Host, parts: list[bytes], reason: str) -> None:
    with stranger(host) as raw:
        raw.send_multipart(parts)
        await host.until_refused(reason)
    await still_serves(host)


async def test_a_peer_of_another_version_is_told_so(host: Host) -> None:
    with stranger(host) as raw:
        raw.send_multipart([TOKEN.encode(), hello().replace(b'"version":1', b'"version":9')])
        await host.until_refused("malformed")
        raw.setsockopt(zmq.RCVTIMEO, 60_000)
        answer = Message.from_bytes(await asyncio.to_thread(raw.recv))
    assert answer.type is MessageType.ERROR
    assert "version 9 is not spoken here" in answer.payload["error"]


async def test_a_message_over_the_limit_cuts_its_sender_off_and_nobody_else(host: Host) -> None:
    with stranger(host) as raw:
        raw.send_multipart([TOKEN.encode(), b"x" * (MAX_BYTES + 1)])
        await still_serves(host)
    assert host.server.refused.total() == 0


@pytest.mark.parametrize(
    "first_words", [b"", b"\xff\x00\x00", b"GET / HTTP/1.1\r\n\r\n", b"\xff" + bytes(8) + b"\x7f\x03"]
)
async def test_peers_that_never_finish_their_handshake_do_not_hold_up_others(host: Host, first_words: bytes) -> None:
    slow = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    try:
        for each in slow:
            each.connect(str(host.server.path))
            if first_words:
                each.sendall(first_words)
        await still_serves(host)
    finally:
        for each in slow:
            each.close()


async def test_half_a_message_and_then_death_is_no_message(host: Host) -> None:
    with stranger(host) as raw:
        raw.send(TOKEN.encode(), zmq.SNDMORE)
    await still_serves(host)
    assert host.server.refused.total() == 0


async def test_a_flood_of_refusals_is_counted_but_not_logged(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    with stranger(host) as raw:
        for _ in range(90):
            raw.send_multipart([b"guess", hello()])
        await host.until_refused("token", 90)
    assert len(caplog.records) == 10
    assert TOKEN not in caplog.text


async def test_a_callback_that_raises_does_not_stop_the_link(shm_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[MessageType] = []

    def refuse(_node: str, message: Message) -> None:
        heard.append(message.type)
        raise RuntimeError("the supervisor stumbles")

    server = ControlServer(shm_root / "control", TOKEN, refuse)
    await server.start()
    host: Any = type("AnyHost", (), {"server": server})
    with Node(host) as node:
        node.link.send(Message(MessageType.READY))
        node.link.send(Message(MessageType.DONE))
        while len(heard) < 2:
            await asyncio.sleep(0.005)
    await server.close()
    assert "the supervisor stumbles" in caplog.text


async def test_the_socket_is_bounded_private_and_removed(shm_root: Path) -> None:
    server = ControlServer(shm_root / "control", TOKEN, lambda *_: None)
    await server.start()
    assert options(server) == {"LINGER": 0, "SNDHWM": 100, "RCVHWM": 100, "MAXMSGSIZE": 65536, "HANDSHAKE_IVL": 2000}
    assert server.path.stat().st_mode & 0o777 == 0o600
    await server.close()
    await server.close()
    assert not server.path.exists()
    assert options(server) == {}


async def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    server = ControlServer(tmp_path / ("x" * LONGEST_PATH), TOKEN, lambda *_: None)
    with pytest.raises(ControlError, match="at most 107 work"):
        await server.start()


async def test_a_folder_that_does_not_exist_is_an_error_with_the_path(tmp_path: Path) -> None:
    server = ControlServer(tmp_path / "no" / "control", TOKEN, lambda *_: None)
    with pytest.raises(ControlError, match="can't be opened"):
        await server.start()


def test_a_node_whose_host_is_gone_ends_all_the_same(tmp_path: Path) -> None:
    link = ControlLink(tmp_path / "nobody", TOKEN, "vad", 1, on_command=lambda _: None, on_tick=lambda: 1.0)
    link.start()
    for _ in range(2000):
        link.send(Message(MessageType.PROGRESS))
    link.close()
    link.close()
    assert not any(thread.name == "ringline-control" and thread.is_alive() for thread in threading.enumerate())
