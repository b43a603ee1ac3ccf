"""pyzmq over a Unix socket: copies through the kernel, without a broker."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.base import DEPTH, Array, Side, Transport


class ZmqTransport(Transport):
    name = "pyzmq ipc"
    package = "pyzmq"

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="ringline-bench-")

    @staticmethod
    def installed() -> bool:
        return importlib.util.find_spec("zmq") is not None

    def open(self, side: Side) -> None:
        import zmq

        self._client = side == "client"
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.set_hwm(DEPTH)
        self._socket.linger = 0
        address = f"ipc://{self._folder}/pair"
        if self._client:
            self._socket.bind(address)
        else:
            self._socket.connect(address)

    def send(self, array: Array) -> None:
        # Without its own copy the array could change before ZeroMQ has read it: that copy belongs to the way.
        data: Any = array.copy()
        self._socket.send(data, copy=False)

    def receive(self) -> Array:
        return np.frombuffer(self._socket.recv(copy=False).buffer, np.uint8)

    def close(self) -> None:
        self._socket.close()
        self._context.term()
        if self._client:
            for left in Path(self._folder).iterdir():
                left.unlink()
            Path(self._folder).rmdir()
