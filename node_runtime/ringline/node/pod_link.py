"""The zygote's line to the gateway of its pod: a Unix socket in the session directory, dialled again whenever it breaks.

Unlike a local zygote's socket its end does not mean that the session is over: the gateway may come back. Frames are those of
`ringline.control.frames`; the first one says who calls, with the session's token.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ringline.control import frames
from ringline.errors import ControlError
from ringline.names import GATEWAY_SOCKET, TOKEN_FILE
from ringline.node.pump import Outlet

RETRY_S: Final = 0.1
"""Between two attempts to reach a gateway that is not there (yet)."""
_READ_BYTES: Final = 64 << 10


class GatewayLink:
    """Dials, says hello, passes on commands. `hello()` gives what to begin with; `command(header)` takes each order."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        directory: Path,
        hello: Callable[[], dict[str, Any]],
        command: Callable[[dict[str, Any]], None],
    ) -> None:
        self.token = ""
        self._selector = selector
        self._directory = directory
        self._hello = hello
        self._command = command
        self._socket: socket.socket | None = None
        self._outlet: Outlet | None = None
        self._decoder = frames.Decoder()
        self._due = 0.0
        self._events = selectors.EVENT_READ

    @property
    def connected(self) -> bool:
        return self._socket is not None

    def dial(self) -> None:
        """Try to reach the gateway, if it is time to. It is there when its socket and its token are."""
        if self._socket is not None or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + RETRY_S
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.connect(os.fspath(self._directory / GATEWAY_SOCKET))
            self.token = (self._directory / TOKEN_FILE).read_text()
        except OSError:
            sock.close()
            return
        sock.setblocking(False)
        self._socket, self._outlet, self._decoder = sock, Outlet(sock), frames.Decoder()
        self._events = selectors.EVENT_READ
        self._selector.register(sock, self._events, self._ready)
        self.event({**self._hello(), "token": self.token})

    def event(self, header: Mapping[str, Any]) -> bool:
        """Send an event; False if nobody is there."""
        if self._outlet is None:
            return False
        self._outlet.event(header)
        self._write()
        return self._socket is not None

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = self._outlet = None

    def detach(self) -> None:
        """Forget the socket, in a forked child, without touching the parent's."""
        if self._socket is not None:
            self._socket.detach()

    def _write(self) -> None:
        if self._socket is None or self._outlet is None:
            return
        try:
            self._outlet.write()
        except OSError:
            self.close()
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outlet.waiting else 0)
        if wanted != self._events:
            self._events = wanted
            self._selector.modify(self._socket, wanted, self._ready)

    def _ready(self) -> None:
        self._write()
        if self._socket is None:
            return
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        try:
            for header, _ in self._decoder.feed(data):
                self._command(header)
        except ControlError:
            self.close()
