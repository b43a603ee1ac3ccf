"""`multiprocessing.shared_memory` with a pipe to say "written": what one builds by hand with the standard library."""

from __future__ import annotations

from multiprocessing.shared_memory import SharedMemory
from typing import Any, cast

import numpy as np

from benchmarks.peers.base import Array, Side, Transport
from benchmarks.peers.queues import CONTEXT


class SharedMemoryTransport(Transport):
    """Each direction has places used in turn. Ping-pong never overruns them; for a stream the reader says what it has read."""

    name = "shared_memory + Pipe"
    in_place = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._memory = [SharedMemory(create=True, size=self.depth * self.largest) for _ in range(2)]
        self._pipe = CONTEXT.Pipe()
        self._next = 0
        self._room = self.depth
        for memory in self._memory:
            _bytes(memory)[::4096] = 0

    def open(self, side: Side) -> None:
        self._client = side == "client"
        first, second = (0, 1) if self._client else (1, 0)
        self._out = _bytes(self._memory[first]).reshape(self.depth, self.largest)
        self._in = _bytes(self._memory[second]).reshape(self.depth, self.largest)
        self._end = self._pipe[first]

    def send(self, array: Array) -> None:
        place = self._place()
        self._out[place, : array.size] = array
        self._tell(place, array.size)

    def send_in_place(self, size: int, head: bytes) -> None:
        place = self._place()
        self._out[place, : len(head)] = np.frombuffer(head, np.uint8)
        self._tell(place, size)

    def _place(self) -> int:
        if self.streaming:
            while not self._room:
                self._end.recv_bytes()
                self._room += 1
            self._room -= 1
        self._next = (self._next + 1) % self.depth
        return self._next

    def _tell(self, place: int, size: int) -> None:
        self._end.send_bytes(place.to_bytes(1, "little") + size.to_bytes(4, "little"))

    def receive(self) -> Any:
        told = self._end.recv_bytes()
        return self._in[told[0], : int.from_bytes(told[1:], "little")]

    def release(self) -> None:
        if self.streaming:
            self._end.send_bytes(b"r")

    def close(self) -> None:
        del self._in, self._out
        for end in self._pipe:
            end.close()
        for memory in self._memory:
            memory.close()
            if self._client:
                memory.unlink()


def _bytes(memory: SharedMemory) -> Array:
    return np.frombuffer(cast("memoryview", memory.buf), np.uint8)
