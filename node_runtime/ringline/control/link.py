"""The node's end of the control link: a thread with a DEALER socket, so that commands are answered while `process` runs.

The runner owns it. Only this thread touches the socket; other threads queue their events. It also calls `on_tick` now and
then, which is where the runner watches for stalls.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import zmq

from ringline.control.messages import Message, MessageType
from ringline.control.seen import Seen
from ringline.control.sockets import address, limit, receive
from ringline.errors import ControlError

if TYPE_CHECKING:
    from ringline.control.server import ControlServer

__all__ = ["ControlLink", "ControlServer"]

log = logging.getLogger("ringline.control")

_DISPENSABLE: Final = frozenset((MessageType.PROGRESS, MessageType.METRICS, MessageType.LOG))
_MOST_WAITING: Final = 1000
"""Events that wait while the host reads none; of what may be dropped, no more are taken then."""
LAST_WORDS_S: Final = 0.5
"""How long an orderly end waits for its last events to leave the process."""
_RECONNECT_MS: Final = 100
_RECONNECT_MAX_MS: Final = 1000


class ControlLink:
    """Connects a node with its host. `on_command` and `on_tick` run in the link's own thread and must not block.

    `on_tick` returns after how many seconds it wants to be called again.
    """

    def __init__(
        self,
        path: Path,
        token: str,
        node: str,
        epoch: int,
        *,
        on_command: Callable[[Message], None],
        on_tick: Callable[[], float],
    ) -> None:
        self._path = path
        self._token = token.encode()
        self._node = node
        self._epoch = epoch
        self._on_command = on_command
        self._on_tick = on_tick
        self._seen = Seen()
        self._waiting: deque[Message] = deque()
        self._bell = -1
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, which dials and says hello. ControlError if the path is too long."""
        where = address(self._path)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        hello = {"node": self._node, "epoch": self._epoch, "pid": os.getpid()}
        self._waiting.append(Message(MessageType.HELLO, hello))
        self._thread = threading.Thread(target=self._run, args=(where,), name="ringline-control", daemon=True)
        self._thread.start()

    def send(self, message: Message) -> None:
        """Queue an event; any thread may call this."""
        if len(self._waiting) >= _MOST_WAITING and message.type in _DISPENSABLE:
            return
        self._waiting.append(message)
        self.wake()

    def wake(self) -> None:
        """Make the thread look around (and tick) now."""
        if self._bell >= 0:
            os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Send what waits, then end the thread; idempotent. Waits at most `LAST_WORDS_S` for an absent host."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._closing = True
        self.wake()
        try:
            thread.join(2 * LAST_WORDS_S)
        except RuntimeError:
            return  # an order to end broke into its start: a daemon, if it runs at all, it ends with the process
        if not thread.is_alive():
            os.close(self._bell)
            self._bell = -1

    def _run(self, where: str) -> None:
        context = zmq.Context()
        socket = context.socket(zmq.DEALER)
        try:
            self._dial(socket, where)
            self._serve(socket)
        finally:
            socket.close(int(LAST_WORDS_S * 1000))
            context.term()

    def _dial(self, socket: zmq.Socket[bytes], where: str) -> None:
        limit(socket)
        socket.setsockopt(zmq.IDENTITY, f"{self._node}/{self._epoch}".encode())
        socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
        socket.connect(where)

    def _serve(self, socket: zmq.Socket[bytes]) -> None:
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(self._bell, zmq.POLLIN)
        due = time.monotonic()
        while True:
            closing = self._closing  # read before the queue: what was queued before close() is sent
            self._send_waiting(socket)
            if closing:
                return
            if time.monotonic() >= due:
                due = time.monotonic() + self._tick()
            poller.poll(1 + int(max(0.0, due - time.monotonic()) * 1000))
            self._quiet_bell()
            if self._take_commands(socket):
                due = 0.0  # a command may have changed what there is to watch

    def _quiet_bell(self) -> None:
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            pass

    def _tick(self) -> float:
        try:
            return self._on_tick()
        except Exception:
            log.exception("watching node %s failed", self._node)
            return 1.0

    def _send_waiting(self, socket: zmq.Socket[bytes]) -> None:
        while self._waiting:
            message = self._waiting[0]
            try:
                socket.send_multipart([self._token, message.to_bytes()], zmq.NOBLOCK)
            except zmq.Again:
                return
            except ControlError as error:
                log.warning("an event was not sent: %s", error)
            self._waiting.popleft()

    def _take_commands(self, socket: zmq.Socket[bytes]) -> bool:
        """Carry out what waits; says whether there was anything."""
        taken = False
        while True:
            try:
                frames = receive(socket)
            except zmq.Again:
                return taken
            taken = True
            try:
                if len(frames) != 1:
                    raise ControlError(f"a command of {len(frames)} frames or more")
                self._command(Message.from_bytes(frames[0]))
            except ControlError as error:
                log.warning("ignored a control message: %s", error)

    def _command(self, message: Message) -> None:
        if not self._seen.first_time(message.message_id):
            return
        if message.type is MessageType.ERROR:
            log.error("the host refused this node: %s", message.payload.get("error", ""))
            return
        try:
            self._on_command(message)
        except Exception:
            log.exception("command %s failed", message.type)


def __getattr__(name: str) -> Any:
    """Offer `ControlServer`, the other end, to hosts: a node must not load it."""
    if name != "ControlServer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ringline.control.server import ControlServer

    return ControlServer
