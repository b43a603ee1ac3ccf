"""Carrying nodes' stdout and stderr to the host: whole lines, bounded memory, and never a node that waits for its logs.

The zygote owns one `Pump` per stream and one `Outlet` towards the host. What the host does not take in time is dropped in
whole lines and counted; a line says how much is missing.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Protocol

from ringline.control import frames

LONGEST_PIECE: Final = frames.MAX_BODY - 64
"""Bytes of a line; a longer one comes in pieces, each but the last marked at its end."""
CONTINUED: Final = " ⏎".encode()
MOST_BUFFERED: Final = 8 << 20
"""Bytes of log lines that wait for the host."""
TAIL_LINES: Final = 20
_TAIL_LINE_BYTES: Final = 1000
_READ_BYTES: Final = 256 << 10
_PIPE_BYTES: Final = 256 << 10


class Takes(Protocol):
    """What frames are written to: a socket, or what looks like one."""

    def send(self, data: memoryview, /) -> int: ...


class Outlet:
    """Frames on their way to the host. Events always wait; log lines only up to `MOST_BUFFERED` bytes."""

    def __init__(self, sock: Takes) -> None:
        self._socket = sock
        self._frames: deque[bytes] = deque()
        self._offset = 0
        self._bytes = 0
        self._dropped: dict[tuple[str, int, str], int] = {}

    def event(self, header: Mapping[str, Any]) -> None:
        """Queue an event."""
        self._queue(frames.encode(header))

    def log(self, node: str, epoch: int, stream: str, lines: bytes) -> None:
        """Queue whole lines of a node, or drop and count them."""
        key = (node, epoch, stream)
        if self._bytes + len(lines) > MOST_BUFFERED:
            self._dropped[key] = self._dropped.get(key, 0) + len(lines)
            return
        missing = self._dropped.pop(key, 0)
        if missing:
            self._log(key, f"[{missing} bytes of {stream} dropped: the host did not read them in time]\n".encode())
        self._log(key, lines)

    def _log(self, key: tuple[str, int, str], lines: bytes) -> None:
        node, epoch, stream = key
        self._queue(frames.encode({"ev": "log", "node": node, "epoch": epoch, "stream": stream}, lines))

    def _queue(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._bytes += len(frame)

    @property
    def waiting(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._frames)

    def write(self) -> None:
        """Write what the host takes now. OSError if it has gone."""
        while self._frames:
            frame = self._frames[0]
            try:
                sent = self._socket.send(memoryview(frame)[self._offset :])
            except BlockingIOError:
                return
            self._offset += sent
            if self._offset == len(frame):
                self._frames.popleft()
                self._bytes -= len(frame)
                self._offset = 0


class Pump:
    """One stream of one node: reads its pipe, cuts it into lines, keeps the last ones."""

    def __init__(self, descriptor: int, node: str, epoch: int, stream: str) -> None:
        self.descriptor = descriptor
        self.tail: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._key = (node, epoch, stream)
        self._rest = b""
        os.set_blocking(descriptor, False)

    def pump(self, outlet: Outlet) -> bool:
        """Read once and pass on whole lines; returns False at the end of the stream."""
        try:
            data = os.read(self.descriptor, _READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self._pass_on(outlet, self._rest + b"\n" if self._rest else b"")
            self._rest = b""
            return False
        head, newline, rest = (self._rest + data).rpartition(b"\n")
        self._pass_on(outlet, head + newline)
        while len(rest) > LONGEST_PIECE:
            self._remember(rest[:LONGEST_PIECE] + b"\n")
            outlet.log(*self._key, rest[:LONGEST_PIECE] + CONTINUED + b"\n")
            rest = rest[LONGEST_PIECE:]
        self._rest = rest
        return True

    def drain(self, outlet: Outlet) -> None:
        """Read what the dead node left in the pipe, but not more than a pipe holds, and close it."""
        for _ in range(1 + _PIPE_BYTES // 4096):
            if not self._readable() or not self.pump(outlet):
                break
        self._pass_on(outlet, self._rest + b"\n" if self._rest else b"")
        self._rest = b""
        os.close(self.descriptor)

    def _readable(self) -> bool:
        return bool(select.select([self.descriptor], [], [], 0)[0])

    def last_lines(self) -> list[str]:
        """Give the last lines, each cut to a readable length."""
        return [line.decode(errors="replace") for line in self.tail]

    def _pass_on(self, outlet: Outlet, lines: bytes) -> None:
        if not lines:
            return
        self._remember(lines)
        start = 0
        while start < len(lines):
            end = _cut(lines, start)
            piece = lines[start:end]
            outlet.log(*self._key, piece if piece.endswith(b"\n") else piece + CONTINUED + b"\n")
            start = end

    def _remember(self, lines: bytes) -> None:
        last = lines.rsplit(b"\n", TAIL_LINES + 1)[-TAIL_LINES - 1 : -1]
        self.tail.extend(line[:_TAIL_LINE_BYTES] for line in last)


def _cut(lines: bytes, start: int) -> int:
    """Find where a frame ends: after the last line that fits, or in the middle of one that does not."""
    limit = start + LONGEST_PIECE
    if len(lines) <= limit:
        return len(lines)
    end = lines.rfind(b"\n", start, limit)
    return limit if end < 0 else end + 1


def pipe() -> tuple[int, int]:
    """Make a pipe (read end, write end) that takes a burst; both ends close at exec."""
    import fcntl

    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        pass  # the user's share of pipe memory is used up: the default size works too
    return reader, writer
