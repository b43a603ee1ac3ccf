"""The two of `multiprocessing`: a Queue, which most people use first and which serialises each array, and a Pipe of bytes."""

from __future__ import annotations

from multiprocessing import get_context
from typing import Any, Final

from benchmarks.peers.base import Array, Side, Transport

CONTEXT: Final = get_context("spawn")


class QueueTransport(Transport):
    name = "multiprocessing.Queue"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pair = [CONTEXT.Queue(self.depth), CONTEXT.Queue(self.depth)]

    def open(self, side: Side) -> None:
        self._out, self._in = self._pair if side == "client" else self._pair[::-1]

    def send(self, array: Array) -> None:
        # A thread serialises it later: one that is written again at once must be another by then.
        self._out.put(array.copy() if self.streaming else array)

    def receive(self) -> Any:
        return self._in.get()

    def close(self) -> None:
        for queue in self._pair:
            queue.cancel_join_thread()
            queue.close()


class PipeTransport(Transport):
    name = "multiprocessing.Pipe"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pair = CONTEXT.Pipe()

    def open(self, side: Side) -> None:
        mine, other = self._pair if side == "client" else self._pair[::-1]
        self._end = mine
        other.close()

    def send(self, array: Array) -> None:
        data: Any = array
        self._end.send_bytes(data)

    def receive(self) -> Any:
        return self._end.recv_bytes()

    def close(self) -> None:
        self._end.close()
