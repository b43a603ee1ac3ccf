"""pyzmq over a Unix socket: copies through the kernel, without a broker."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.peers.base import Array, Side, Transport

_COPIED: Final = 64 << 10
"""Below it ZeroMQ is quicker when it copies: its own threshold for asking the same question (`zmq.COPY_THRESHOLD`)."""


class ZmqTransport(Transport):
    name = "pyzmq ipc"
    package = "pyzmq"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._folder = tempfile.mkdtemp(prefix="ringline-bench-")

    @staticmethod
    def installed() -> bool:
        return importlib.util.find_spec("zmq") is not None

    def open(self, side: Side) -> None:
        import zmq

        self._client = side == "client"
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.set_hwm(self.depth)
        self._socket.linger = 0
        address = f"ipc://{self._folder}/pair"
        if self._client:
            self._socket.bind(address)
        else:
            self._socket.connect(address)

    def send(self, array: Array) -> None:
        data: Any = array
        if array.size < _COPIED:
            self._socket.send(data)
        else:
            # Without its own copy the array could change before ZeroMQ has read it: that copy belongs to the way.
            self._socket.send(data.copy(), copy=False)

    def receive(self) -> Any:
        return self._socket.recv(copy=False).buffer

    def close(self) -> None:
        self._socket.close()
        self._context.term()
        if self._client:
            for left in Path(self._folder).iterdir():
                left.unlink()
            Path(self._folder).rmdir()
