"""`multiprocessing.Queue`: what most people use first. It serialises each array and writes it through a pipe."""

from __future__ import annotations

from multiprocessing.context import SpawnContext
from typing import Any

from benchmarks.peers.base import Array, Side, Transport


class QueueTransport(Transport):
    name = "multiprocessing.Queue"

    def __init__(self, context: SpawnContext) -> None:
        self._pair = [context.Queue(4), context.Queue(4)]

    def open(self, side: Side) -> None:
        self._out, self._in = self._pair if side == "client" else self._pair[::-1]

    def send(self, array: Array) -> None:
        self._out.put(array)

    def receive(self) -> Array:
        array: Any = self._in.get()
        return array  # type: ignore[no-any-return]

    def close(self) -> None:
        for queue in self._pair:
            queue.cancel_join_thread()
            queue.close()
