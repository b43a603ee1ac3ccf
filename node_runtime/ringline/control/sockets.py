"""The limits that both ends of the control link put on their ZeroMQ sockets, in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import zmq

from ringline.control.messages import MAX_BYTES
from ringline.errors import ControlError

HIGH_WATER_MARK: Final = 100
HANDSHAKE_MS: Final = 2000
MAX_FRAMES: Final = 4
LONGEST_PATH: Final = 107
"""Bytes of a Unix socket's path that the kernel takes."""
_HEARTBEAT_OFF: Final = 0


def limit(socket: zmq.Socket[Any]) -> None:
    """Bound what a peer may cost: queue, message size, time for its handshake, and our own exit (no linger)."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
    socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_OFF)


def address(path: Path) -> str:
    """Give the ``ipc://`` address of a socket file. ControlError if the kernel could not take the path."""
    size = len(str(path).encode())
    if size > LONGEST_PATH:
        raise ControlError(
            f"socket path {path} has {size} bytes, at most {LONGEST_PATH} work; use a shorter session id"
        )
    return f"ipc://{path}"


def receive(socket: zmq.Socket[Any]) -> list[bytes]:
    """Take one waiting message without blocking; of its frames only the first few are kept. zmq.Again if none waits."""
    frames = [socket.recv(zmq.NOBLOCK)]
    count = 1
    while socket.getsockopt(zmq.RCVMORE):
        frame = socket.recv(zmq.NOBLOCK)
        count += 1
        if count <= MAX_FRAMES + 1:  # one more than allowed tells the reader that there were too many
            frames.append(frame)
    return frames
