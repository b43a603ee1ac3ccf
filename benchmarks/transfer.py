"""Arrays to another process and back, by size, beside other ways to do it, in interleaved rounds of one run.

Both sides write the whole payload into the transport and the receiver looks at its first and last byte. The round trip is
timed by the client; the one-way time by the receiver, against the time that the sender wrote into the payload just before
(both clocks are CLOCK_MONOTONIC). Client and server run on two CPUs. Each way and size gets turns in every round, so that a
noisy moment hits all of them.
"""

from __future__ import annotations

import mmap
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Final

import numpy as np

from benchmarks.machine import pinned, two_cpus
from benchmarks.peers.base import LARGEST, Array, Transport
from benchmarks.peers.iceoryx import IceoryxTransport
from benchmarks.peers.ours import RawRinglineTransport, RinglineTransport
from benchmarks.peers.queues import QueueTransport
from benchmarks.peers.shared import SharedMemoryTransport
from benchmarks.peers.sockets import ZmqTransport
from benchmarks.rows import Bar, Row, not_installed, percentile

SIZES: Final = {
    "960 B (10 ms of 48 kHz i16)": 960,
    "192 kB": 192_000,
    "921.6 kB (480p)": 921_600,
    "6.2 MB (1080p)": 6_220_800,
    "10 MiB": LARGEST,
}
_TEN: Final = "10 MiB"
_STOP: Final = 9
"""Length of the message that ends the server: shorter than any that is measured."""
_IN_PLACE: Final = 1 << 63
"""In the time at the head of a message: it was written in place, answer alike."""
Times = dict[tuple[str, str, str], list[float]]
_CONTEXT: Final = get_context("spawn")


def transports() -> list[Callable[[], Transport]]:
    return [
        RinglineTransport,
        RawRinglineTransport,
        IceoryxTransport,
        lambda: SharedMemoryTransport(_CONTEXT),
        ZmqTransport,
        lambda: QueueTransport(_CONTEXT),
    ]


def measure(*, quick: bool) -> Iterator[Row]:
    rounds, seconds = (2, 0.02) if quick else (12, 0.12)
    sizes = {name: SIZES[name] for name in (*list(SIZES)[:1], _TEN)} if quick else SIZES
    times: Times = defaultdict(list)
    pairs: list[Pair] = []
    absent: list[Row] = []
    try:
        for make in transports():
            pair = _pair(make, absent)
            if pair is not None:
                pairs.append(pair)
        with pinned(two_cpus()[0]):
            for _ in range(rounds):
                _round(pairs, sizes, seconds, times)
    finally:
        for pair in pairs:
            pair.close()
    yield from _rows(times, list(sizes))
    yield from absent


def _pair(make: Callable[[], Transport], absent: list[Row]) -> Pair | None:
    """Connect; a peer that is not installed or does not work here gets a row that says so. Ours has to work."""
    transport = make()
    name = f"{transport.name}, {_TEN}, round trip"
    if not transport.installed():
        absent.append(not_installed(name, "us", transport.package))
        return None
    try:
        return Pair(transport)
    except Exception as error:
        if isinstance(transport, RinglineTransport):
            raise
        absent.append(Row(name, "us", skipped=f"does not work here: {type(error).__name__}: {error}"))
        return None


class Pair:
    """A transport with its server process, kept for all rounds."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        mine, its = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=serve, args=(transport, two_cpus()[1], its), daemon=True)
        self._process.start()
        its.close()
        try:
            transport.open("client")
            mine.send_bytes(b"made")  # the client makes what the server attaches to
            mine.recv_bytes()  # ends with EOFError if the server died
            self._turn(np.zeros(64, np.uint8), in_place=False)
        except BaseException:
            self._end_process()
            with suppress(Exception):
                transport.close()
            raise
        finally:
            mine.close()

    def _turn(self, source: Array, *, in_place: bool) -> tuple[float, float]:
        """Send and get back once; the round trip and the way there, in microseconds."""
        began = time.monotonic_ns()
        head = (began | (_IN_PLACE if in_place else 0)).to_bytes(8, "little")
        if in_place:
            self.transport.send_in_place(source.size, head)
        else:
            source[:8] = np.frombuffer(head, np.uint8)
            self.transport.send(source)
        answer = self.transport.receive()
        ended = time.monotonic_ns()
        there = int.from_bytes(answer[:8].tobytes(), "little")
        del answer
        self.transport.release()
        return (ended - began) / 1e3, there / 1e3

    def turns(self, source: Array, seconds: float, *, in_place: bool) -> Iterator[tuple[float, float]]:
        for _ in range(3):
            self._turn(source, in_place=in_place)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            yield self._turn(source, in_place=in_place)

    def close(self) -> None:
        try:
            self.transport.send(np.zeros(_STOP, np.uint8))
            self._process.join(5)
        finally:
            self._end_process()
            self.transport.close()

    def _end_process(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()


def serve(transport: Transport, cpu: int, client: Connection) -> None:
    """Answer each message with one of the same size that begins with how long the way here took, in nanoseconds."""
    os.sched_setaffinity(0, {cpu})
    client.recv_bytes()
    transport.open("server")
    client.send_bytes(b"open")
    sources: dict[int, Array] = {}
    while True:
        array = transport.receive()
        now = time.monotonic_ns()
        size, began = array.size, int.from_bytes(array[:8].tobytes(), "little")
        checked = int(array[0]) + int(array[-1])
        del array
        transport.release()
        if size == _STOP:
            break
        assert checked >= 0
        head = (now - (began & ~_IN_PLACE)).to_bytes(8, "little")
        _answer(transport, sources, size, head, in_place=bool(began & _IN_PLACE))
    transport.close()


def _answer(transport: Transport, sources: dict[int, Array], size: int, head: bytes, *, in_place: bool) -> None:
    if in_place:
        transport.send_in_place(size, head)
        return
    source = sources.setdefault(size, np.ones(size, np.uint8))
    source[:8] = np.frombuffer(head, np.uint8)
    transport.send(source)


def _round(pairs: list[Pair], sizes: dict[str, int], seconds: float, times: Times) -> None:
    for label, size in sizes.items():
        source = np.ones(size, np.uint8)
        times["two memcpys", label, "round trip"] += _two_copies(source, seconds / 2)
        for pair in pairs:
            ways = ["round trip", "in place"] if pair.transport.in_place else ["round trip"]
            for way in ways:
                for trip, there in pair.turns(source, seconds, in_place=way == "in place"):
                    times[pair.transport.name, label, way].append(trip)
                    times[pair.transport.name, label, f"{way}, one way"].append(there)


def _two_copies(source: Array, seconds: float) -> Iterator[float]:
    """Copy one array into shared memory, then another one elsewhere, as the two sides of a round trip must."""
    sources = [source, source.copy()]
    with ExitStack() as memory:
        mapped = [memory.enter_context(closing(mmap.mmap(-1, source.size))) for _ in sources]
        targets = [np.frombuffer(place, np.uint8) for place in mapped]
        for target in targets:
            target[::4096] = 0
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic_ns()
            for target, array in zip(targets, sources, strict=True):
                np.copyto(target, array)
            yield (time.monotonic_ns() - began) / 1e3
        del target, targets


def _rows(times: Times, labels: list[str]) -> Iterator[Row]:
    for label in labels:
        for (name, size, way), values in times.items():
            if size == label:
                yield Row(f"{name}, {size}, {way}", "us", values, _bar(times, name, size, way))
    yield from _against_iceoryx(times)


def _bar(times: Times, name: str, size: str, way: str) -> Bar | None:
    if size != _TEN or not name.startswith("ringline"):
        return None
    if way == "round trip":
        copies = percentile(times["two memcpys", _TEN, "round trip"], 0.5)
        return Bar(1.25 * copies, "1.25 x two memcpys")
    return Bar(1000.0, "1 ms") if way == "round trip, one way" else None


def _against_iceoryx(times: Times) -> Iterator[Row]:
    """Give the comparison with iceoryx2 rows of its own: its bar is another than the one by memcpy. It moves raw bytes."""
    ours, raw = RinglineTransport.name, RawRinglineTransport.name
    for name, way, share in ((ours, "round trip", 1.0), (raw, "round trip", 1.0), (raw, "in place", 0.05)):
        peer = times.get((IceoryxTransport.name, _TEN, way))
        if peer:
            bar = Bar(share * percentile(peer, 0.5), f"{share:g} x iceoryx2 with events")
            yield Row(f"{name} against iceoryx2, {_TEN}, {way}", "us", times[name, _TEN, way], bar)
