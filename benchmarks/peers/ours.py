"""Ringline's data plane as nodes use it: RuntimeData through the codec, blocks and rings of an arena.

`raw` leaves the codec out: that is what iceoryx2 and the others are to be compared with when only bytes matter.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from benchmarks.peers.base import Array, Side, Transport
from ringline.data.codec import decode, encode, encode_meta
from ringline.data.runtime_data import RuntimeData
from ringline.graph.layout import ChannelPlan, arena_layout
from ringline.names import HOST
from ringline.settings import RuntimeConfig


class RinglineTransport(Transport):
    """The client is the arena's host, the server its only node; settings are the defaults."""

    name = "ringline"
    in_place = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._folder = tempfile.mkdtemp(prefix="ringline-bench-", dir="/dev/shm")

    def open(self, side: Side) -> None:
        from ringline.shm import Arena

        settings = RuntimeConfig()
        there = ChannelPlan(0, "there", HOST, "output", "echo", "input", self.depth)
        back = ChannelPlan(1, "back", "echo", "output", HOST, "input", self.depth)
        layout = arena_layout(
            ["echo", HOST],
            [there, back],
            max_message_bytes=settings.max_message_size,
            shm_bytes=settings.shm_segment_size,
        )
        self._client = side == "client"
        if self._client:
            self._arena = Arena.create(Path(self._folder), layout)
        else:
            self._arena = Arena.attach(Path(self._folder), "echo")
        out, into = ("there", "back") if self._client else ("back", "there")
        self._writer = self._arena.writer([out])
        self._reader = self._arena.reader(into)
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

    def receive(self) -> Any:
        lease = self._next()
        self._held = decode(lease.kind, lease.meta, lease, timestamp=lease.timestamp)
        return self._held.as_numpy()

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

    def receive(self) -> Any:
        self._held = self._next()
        return memoryview(self._held)
