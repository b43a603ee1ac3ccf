"""Arrays to another process and back, by size, beside other ways to do it, in interleaved rounds of one run.

Both sides write the whole payload into the transport and the receiver looks at its first and last byte; in place they write
a few bytes into a block that is not copied. The round trip is timed by the client; the one-way time by the receiver, against
the time that the sender wrote into the payload just before (both clocks are CLOCK_MONOTONIC). Client and server run on two
CPUs, on one, and where the scheduler likes. Each way and size gets turns in every round, so that a noisy moment hits all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np

from benchmarks.limits import two_copies
from benchmarks.pairs import PLACES, Pair, pairs
from benchmarks.peers.base import LARGEST, Array, Transport
from benchmarks.peers.iceoryx import BusyIceoryxTransport, IceoryxTransport
from benchmarks.peers.ours import RawRinglineTransport, RinglineTransport
from benchmarks.peers.queues import PipeTransport, QueueTransport
from benchmarks.peers.shared import SharedMemoryTransport
from benchmarks.peers.sockets import ZmqTransport
from benchmarks.rows import Bar, Row, percentile

TEN: Final = "10 MiB"
SIZES: Final = {"64 B": 64, "960 B": 960, "64 KiB": 64 << 10, "1 MiB": 1 << 20, TEN: LARGEST}
COPIES: Final = "two memcpys"
OURS, RAW = RinglineTransport.name, RawRinglineTransport.name
EVENTS, BUSY = IceoryxTransport.name, BusyIceoryxTransport.name
_TWO, _ONE, _ = PLACES
Key = tuple[str, str, str, str]
"""Peer, size, way, place."""
Times = dict[Key, list[float]]


def transports() -> list[type[Transport]]:
    return [
        RawRinglineTransport,
        RinglineTransport,
        IceoryxTransport,
        BusyIceoryxTransport,
        SharedMemoryTransport,
        ZmqTransport,
        PipeTransport,
        QueueTransport,
    ]


def measure(*, quick: bool) -> Iterator[Row]:
    rounds, seconds = (2, 0.02) if quick else (4, 0.1)
    sizes = {name: SIZES[name] for name in ("64 B", TEN)} if quick else SIZES
    times: Times = defaultdict(list)
    absent: list[Row] = []
    with pairs(transports(), absent, f"{TEN}, round trip") as connected:
        for _ in range(rounds):
            for where in PLACES[:1] if quick else PLACES:
                _round(connected, sizes, seconds, where, times)
    yield from _rows(times, list(sizes))
    yield from verdicts(times)
    yield from absent


def _round(connected: list[Pair], sizes: dict[str, int], seconds: float, where: str, times: Times) -> None:
    for label, size in sizes.items():
        source = np.ones(size, np.uint8)
        if where == _TWO:
            times[COPIES, label, "round trip", where] += two_copies(source, seconds / 2)
        for pair in connected:
            if where == _ONE and pair.transport.busy:
                continue  # it would poll away the time that the other side needs
            with pair.placed(where):
                _turns(pair, source, seconds, (label, where), times)


def _turns(pair: Pair, source: Array, seconds: float, about: tuple[str, str], times: Times) -> None:
    label, where = about
    name = pair.transport.name
    for way in ("round trip", "in place") if pair.transport.in_place else ("round trip",):
        for trip, there in pair.turns(source, seconds, in_place=way == "in place"):
            times[name, label, way, where].append(trip)
            times[name, label, f"{way}, one way", where].append(there)


def _rows(times: Times, sizes: list[str]) -> Iterator[Row]:
    for wanted in sizes:
        for (name, size, way, where), values in times.items():
            if size == wanted:
                labels = {"peer": name, "size": size, "way": way, "place": where}
                place = "" if where == _TWO else f", {where}"
                yield Row(f"{name}, {size}, {way}{place}", "us", values, labels=labels)


def verdicts(times: Times) -> Iterator[Row]:
    """Hold what was measured to what it should reach; the comparisons are between raw bytes, which is what the peers move."""
    for size, way, where, peer, share in (
        ("64 B", "round trip", _TWO, EVENTS, 0.1),
        ("64 B", "round trip", _TWO, BUSY, 0.3),
        ("64 B", "round trip", _ONE, EVENTS, 0.4),
        ("1 MiB", "round trip", _TWO, BUSY, 0.9),
        (TEN, "round trip", _TWO, EVENTS, 1.0),
        (TEN, "round trip", _TWO, COPIES, 1.25),
        (TEN, "in place", _TWO, EVENTS, 0.05),
    ):
        mine, theirs = times.get((RAW, size, way, where)), times.get((peer, size, way, where))
        if mine and theirs:
            bar = Bar(share * percentile(theirs, 0.5), f"{share:g} x {peer}")
            about = {"verdict": f"{size}, {_spoken(way)}, {where}"}
            yield Row(f"{RAW} against {peer}, {size}, {way}, {where}", "us", mine, bar, labels=about)
    yield from _one_way(times)
    yield from _in_place_everywhere(times)


def _spoken(way: str) -> str:
    return "round trip by copy" if way == "round trip" else "round trip in place"


def _one_way(times: Times) -> Iterator[Row]:
    there = times.get((RAW, TEN, "round trip, one way", _TWO))
    if there:
        about = {"verdict": f"{TEN}, one way by copy, {_TWO}"}
        yield Row(f"{RAW}, {TEN}, one way", "us", there, Bar(1000.0, "1 ms"), labels=about)


def _in_place_everywhere(times: Times) -> Iterator[Row]:
    """A block is not touched, so its size must not matter: the slowest smaller size against the largest."""
    largest = times.get((RAW, TEN, "in place", _TWO))
    smaller = [values for size in SIZES if size != TEN and (values := times.get((RAW, size, "in place", _TWO)))]
    if largest and smaller:
        slowest = max(smaller, key=lambda values: percentile(values, 0.5))
        bar = Bar(1.1 * percentile(largest, 0.5), f"the time of {TEN}, and a tenth for noise")
        about = {"verdict": f"every smaller size in place, {_TWO}"}
        yield Row(f"{RAW}, slowest size below {TEN}, in place", "us", slowest, bar, labels=about)
