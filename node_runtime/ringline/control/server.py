"""The host's end of the control link: one ROUTER that all nodes of a session dial.

The supervisor owns it and hears every event of an authenticated node, in its event loop. Each message carries the session's
token, so a stranger's costs one comparison; what is malformed is counted by reason and dropped, and a peer that speaks
another version is told so.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import zmq

from ringline.control.messages import Message, MessageType
from ringline.control.seen import Seen
from ringline.control.sockets import MAX_FRAMES, address, limit, receive
from ringline.errors import ControlError

log = logging.getLogger("ringline.control")

_IDENTITY: Final = re.compile(rb"([-_a-z0-9]{1,40})/([0-9]{1,10})")
_AT_ONCE: Final = 100
"""Messages taken before the event loop gets its turn."""
_WARNINGS: Final = 10
"""Refusals that are logged; a flood of them only counts."""


class ControlServer:
    """Receives events of nodes and sends them commands. All methods belong to one event loop.

    `on_event(node, message)` must not block. `refused` counts what was dropped, by reason.
    """

    def __init__(self, path: Path, token: str, on_event: Callable[[str, Message], None]) -> None:
        self.path = path
        self.refused: Counter[str] = Counter()
        self._token = token.encode()
        self._on_event = on_event
        self._peers: dict[str, _Peer] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again = False

    async def start(self) -> None:
        """Listen. ControlError if the path is too long or can't be bound."""
        where = address(self.path)
        self._loop = asyncio.get_running_loop()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        limit(self._socket)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # a send to nobody is an error, not silence
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a node that dials again is the same node
        try:
            self._socket.bind(where)
        except zmq.ZMQError as error:
            await self.close()
            raise ControlError(f"the control socket {self.path} can't be opened: {error}") from None
        self.path.chmod(0o600)
        self._loop.add_reader(self._socket.FD, self._readable)
        self._readable()

    async def close(self) -> None:
        """Stop listening; idempotent. Nothing that waits to be sent holds it up."""
        socket, self._socket = self._socket, None
        context, self._context = self._context, None
        if socket is not None:
            if self._loop is not None:
                self._loop.remove_reader(socket.FD)
            socket.close(0)
        if context is not None:
            context.term()
        self.path.unlink(missing_ok=True)

    def epoch_of(self, node: str) -> int | None:
        """Give the epoch of the incarnation that said hello last, or None."""
        peer = self._peers.get(node)
        return peer.epoch if peer else None

    def expect(self, node: str, epoch: int) -> None:
        """Take an incarnation for connected that said hello to a host before this one: it will not say it again."""
        self._peers[node] = _Peer(f"{node}/{epoch}".encode(), epoch)

    async def send(self, node: str, message: Message) -> None:
        """Send a command. ControlError if the node is not connected or its queue is full."""
        peer = self._peers.get(node)
        if peer is None or self._socket is None:
            raise ControlError(f"node '{node}' is not connected; its {message.type} was not sent")
        self._send(peer.identity, message, node)

    def _send(self, identity: bytes, message: Message, node: str) -> None:
        assert self._socket is not None
        try:
            self._socket.send_multipart([identity, message.to_bytes()], zmq.NOBLOCK)
        except zmq.Again:
            raise ControlError(f"node '{node}' reads no commands: its queue is full") from None
        except zmq.ZMQError as error:
            raise ControlError(f"node '{node}' can't be reached: {error}") from None
        finally:
            # The descriptor reports an edge once, and a send may have swallowed it.
            self._look_again()

    def _look_again(self) -> None:
        if self._loop is not None and not self._again:
            self._again = True
            self._loop.call_soon(self._readable)

    def _readable(self) -> None:
        self._again = False
        for _ in range(_AT_ONCE):
            if self._socket is None:
                return
            try:
                frames = receive(self._socket)
            except zmq.ZMQError:
                return
            self._take(frames)
        self._look_again()

    def _take(self, frames: list[bytes]) -> None:
        identity, *rest = frames
        if len(frames) > MAX_FRAMES or len(rest) != 2:
            self._refuse("frames", f"a message of {len(frames)} frames or more")
            return
        token, data = rest
        if not hmac.compare_digest(token, self._token):
            self._refuse("token", "a message without this session's token")
            return
        match = _IDENTITY.fullmatch(identity)
        if match is None:
            self._refuse("identity", "a peer whose identity is not node/epoch")
            return
        node, epoch = match[1].decode(), int(match[2])
        try:
            message = Message.from_bytes(data)
        except ControlError as error:
            self._refuse("malformed", f"node '{node}': {error}")
            self._answer(identity, node, str(error))
            return
        self._hear(identity, node, epoch, message)

    def _hear(self, identity: bytes, node: str, epoch: int, message: Message) -> None:
        peer = self._peers.get(node)
        if message.type is MessageType.HELLO and (peer is None or peer.epoch < epoch):
            self._peers[node] = peer = _Peer(identity, epoch)
        if peer is None or peer.epoch != epoch:
            self._refuse("handshake", f"{message.type} of node '{node}' epoch {epoch}, which is not the one connected")
            return
        if message.type is MessageType.HELLO or not peer.seen.first_time(f"{message.type} {message.message_id}"):
            return
        try:
            self._on_event(node, message)
        except Exception:
            log.exception("handling %s of node %s failed", message.type, node, extra={"node": node, "epoch": epoch})

    def _answer(self, identity: bytes, node: str, reason: str) -> None:
        try:
            self._send(identity, Message(MessageType.ERROR, {"reason": "Refused", "error": reason}), node)
        except ControlError:
            pass  # it has gone already

    def _refuse(self, reason: str, text: str) -> None:
        self.refused[reason] += 1
        if self.refused.total() <= _WARNINGS:
            log.warning("refused on the control socket: %s", text, extra={"reason": reason})


class _Peer:
    """One incarnation of a node that has said hello."""

    def __init__(self, identity: bytes, epoch: int) -> None:
        self.identity = identity
        self.epoch = epoch
        self.seen = Seen()


def options(server: ControlServer) -> dict[str, Any]:
    """Give the socket options that bound what a peer may cost (for tests and `doctor`)."""
    socket = server._socket  # noqa: SLF001
    if socket is None:
        return {}
    names = ("LINGER", "SNDHWM", "RCVHWM", "MAXMSGSIZE", "HANDSHAKE_IVL")
    return {name: socket.getsockopt(getattr(zmq, name)) for name in names}
