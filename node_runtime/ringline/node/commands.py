"""What the host has ordered: set by the control thread, looked at by the driver between messages.

Health checks are answered here, at once, whatever `process` does. Everything else raises `attention`, and the driver's
`notify` wakes it, so that flush, cancel and shutdown overtake what is queued.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ringline.control.messages import Message, MessageType


class Terminated(SystemExit):
    """The node is to clean up and leave now: by SHUTDOWN (code 0) or by SIGTERM."""


class Commands:
    """Orders of the host. `status` gives the payload of a health check's answer."""

    def __init__(self, send: Callable[[Message], None], status: Callable[[], dict[str, Any]]) -> None:
        self._send = send
        self._status = status
        self.started = False
        self.stopping = False
        """Drain: sources stop."""
        self.shutdown = False
        self.cancels = 0
        """Grows with each CANCEL; work that began at a lower number is to be dropped."""
        self.attention = False
        self.notify: Callable[[], None] = lambda: None
        self._queue: deque[Message] = deque()

    def take(self, message: Message) -> None:
        """Accept one command; called in the control thread."""
        kind = message.type
        if kind is MessageType.HEALTH_CHECK:
            self._send(message.reply(MessageType.HEALTH_CHECK_RESPONSE, self._status()))
            return
        if kind is MessageType.START:
            self.started = True
        elif kind is MessageType.STOP:
            self.stopping = True
        elif kind is MessageType.SHUTDOWN:
            self.shutdown = True
            self._send(message.reply(MessageType.SHUTDOWN_ACK))
        elif kind is MessageType.CANCEL:
            self.cancels += 1
            self._queue.append(message)
        elif kind in (MessageType.FLUSH, MessageType.CONFIG_UPDATE):
            self._queue.append(message)
        self.attention = True
        self.notify()

    def waiting(self) -> list[Message]:
        """Take the commands that the driver has to carry out itself, oldest first."""
        self.attention = False  # first: what comes from now on raises it again
        taken: list[Message] = []
        while self._queue:
            taken.append(self._queue.popleft())
        return taken

    def answer(self, command: Message, kind: MessageType, payload: dict[str, Any] | None = None) -> None:
        """Answer a command that was carried out."""
        self._send(command.reply(kind, payload))
