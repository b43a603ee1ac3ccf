"""A sender blocked on a full channel: how late it goes on after the reader made room, and what its waiting costs.

Each way has room for four messages of 64 KiB; the reader keeps each one for 40 ms.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import numpy as np

from benchmarks.pairs import PLACES, Pair, pairs
from benchmarks.peers.base import DEPTH, Transport
from benchmarks.peers.iceoryx import IceoryxTransport
from benchmarks.peers.ours import RawRinglineTransport, RinglineTransport
from benchmarks.peers.shared import SharedMemoryTransport
from benchmarks.rows import Bar, Row

_SIZE: Final = 64 << 10
_HELD_S: Final = 0.04
_AT_FIRST: Final = 2 * DEPTH
"""Sends that find room, or in part."""


def measure(*, quick: bool) -> Iterator[Row]:
    absent: list[Row] = []
    makers: list[Callable[[], Transport]] = [
        partial(maker, DEPTH, _SIZE, streaming=True)
        for maker in (RawRinglineTransport, RinglineTransport, IceoryxTransport, SharedMemoryTransport)
    ]
    with pairs(makers, absent, "resume") as connected:
        for pair in connected:
            with pair.placed(PLACES[0]):
                yield from _rows(pair, _AT_FIRST + (4 if quick else 50))
    yield from absent


def _rows(pair: Pair, count: int) -> Iterator[Row]:
    name, ours = pair.transport.name, pair.transport.name == RawRinglineTransport.name
    late, cpu = _blocked(pair, count)
    labels = {"peer": name, "way": "resume"}
    about = {"verdict": "a sender blocked on a full channel: resume"} if ours else {}
    bar = Bar(250.0, "0.25 ms", "p90") if ours else None
    yield Row(f"{name}: resumed after the reader made room", "us", late, bar, labels=labels | about)
    labels = {"peer": name, "way": "blocked"}
    about = {"verdict": "a sender blocked on a full channel: its CPU"} if ours else {}
    yield Row(f"{name}: CPU while blocked", "%", [cpu], Bar(1.0, "1 %") if ours else None, labels=labels | about)


def _blocked(pair: Pair, count: int) -> tuple[list[float], float]:
    """Return how late each blocked send was, in microseconds, and the share of a CPU used meanwhile, in percent."""
    source, done = np.ones(_SIZE, np.uint8), []
    pair.order("hold", count=count, seconds=_HELD_S)
    for number in range(count):
        if number == _AT_FIRST:
            began, cpu = time.monotonic(), time.process_time()
        pair.transport.send(source)
        done.append(time.monotonic_ns())
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    released: list[int] = pair.answer()
    late = [(sent - released[bisect_right(released, sent) - 1]) / 1e3 for sent in done[_AT_FIRST:]]
    return late, 100 * share
