"""Ringline's data plane as nodes use it: RuntimeData through the codec, blocks and rings of an arena.

`raw` leaves the codec out: that is what iceoryx2 and the others are to be compared with when only bytes matter.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

import numpy as np

from benchmarks.peers.base import Array, Side, Transport
from ringline.data.codec import decode, encode, encode_meta
from ringline.data.runtime_data import RuntimeData
from ringline.graph.layout import ChannelPlan, arena_layout
from ringline.names import HOST
from ringline.settings import RuntimeConfig

_THERE: Final = ChannelPlan(0, "there", HOST, "output", "echo", "input", 4)
_BACK: Final = ChannelPlan(1, "back", "echo", "output", HOST, "input", 4)


class RinglineTransport(Transport):
    """The client is the arena's host, the server its only node; settings are the defaults."""

    name = "ringline"
    in_place = True

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="ringline-bench-", dir="/dev/shm")

    def open(self, side: Side) -> None:
        from ringline.shm import Arena

        settings = RuntimeConfig()
        layout = arena_layout(
            ["echo", HOST],
            [_THERE, _BACK],
            max_message_bytes=settings.max_message_size,
            shm_bytes=settings.shm_segment_size,
        )
        self._client = side == "client"
        if self._client:
            self._arena = Arena.create(Path(self._folder), layout)
        else:
            self._arena = Arena.attach(Path(self._folder), "echo")
        there, back = ("there", "back") if self._client else ("back", "there")
        self._writer = self._arena.writer([there])
        self._reader = self._arena.reader(back)
        self._held: Any = None

    def send(self, array: Array) -> None:
        sent = encode(RuntimeData("tensor", array))
        self._writer.send(sent.payload, sent.kind, sent.meta, 0)

    def send_in_place(self, size: int, head: bytes) -> None:
        loan = self._writer.loan(size)
        memoryview(loan).cast("B")[: len(head)] = head
        # As a node does with `loan`: the message is made of the borrowed array.
        kind, meta = encode_meta(RuntimeData("tensor", np.asarray(memoryview(loan))))
        self._writer.commit(loan, kind, meta, 0)

    def receive(self) -> Array:
        lease = self._next()
        self._held = decode(lease.kind, lease.meta, lease, timestamp=lease.timestamp)
        array: Array = self._held.as_numpy()
        return array

    def _next(self) -> Any:
        while (lease := self._reader.next()) is None:
            self._arena.wait()
        return lease

    def release(self) -> None:
        self._held.release()

    def close(self) -> None:
        self._arena.close()
        if self._client:
            rmtree(self._folder, ignore_errors=True)


class RawRinglineTransport(RinglineTransport):
    """The same without RuntimeData: bytes in, bytes out."""

    name = "ringline (raw bytes)"

    def send(self, array: Array) -> None:
        payload: Any = array
        self._writer.send(payload, 6, b"", 0)

    def send_in_place(self, size: int, head: bytes) -> None:
        loan = self._writer.loan(size)
        memoryview(loan).cast("B")[: len(head)] = head
        self._writer.commit(loan, 6, b"", 0)

    def receive(self) -> Array:
        self._held = self._next()
        return np.frombuffer(self._held, np.uint8)
