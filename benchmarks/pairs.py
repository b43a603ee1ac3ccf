"""A client and a server process joined by one transport, and what they do together: echo, stream, hold back.

The server is told over a pipe of its own what to do next, so that nothing but the measured messages passes the transport.
Called by the benchmarks that compare Ringline with its peers: `transfer`, `stream`, `backpressure`, `waiting`, `cold`.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np

from benchmarks.machine import place, two_cpus
from benchmarks.peers.base import Array, Transport
from benchmarks.peers.queues import CONTEXT
from benchmarks.rows import Row, not_installed

PLACES: Final = ("two CPUs", "one CPU", "unpinned")
_HEAD: Final = struct.Struct("<Q")
_END: Final = 9
"""Length of the message that ends an echo: no measured one has it."""
_IN_PLACE: Final = 1 << 63
"""In the time at the head of a message: it was written in place, answer alike."""
_MARK: Final = 255


def cpus_of(where: str) -> tuple[list[int], list[int]]:
    """Return the CPUs of the client and of the server for one of `PLACES`."""
    first, second = two_cpus()
    return {
        "two CPUs": ([first], [second]),
        "one CPU": ([first], [first]),
        "unpinned": ([first, second], [first, second]),
    }[where]


class Pair:
    """A transport with its server process, kept for as many rounds as there are."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._orders, its = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=serve, args=(transport, its), daemon=True)
        self._process.start()
        its.close()
        try:
            transport.open("client")
            self._orders.send_bytes(b"made")  # the client makes what the server attaches to
            self._orders.recv_bytes()  # ends with EOFError if the server died
        except BaseException:
            self._end_process()
            with suppress(Exception):
                transport.close()
            raise

    def order(self, do: str, **details: Any) -> None:
        self._orders.send_bytes(json.dumps({"do": do, **details}).encode())

    def answer(self) -> Any:
        return json.loads(self._orders.recv_bytes())

    @contextmanager
    def placed(self, where: str) -> Iterator[None]:
        """Put client and server on their CPUs."""
        mine, its = cpus_of(where)
        before = os.sched_getaffinity(0)
        self.order("place", cpus=its)
        self.answer()
        place(mine)
        try:
            yield
        finally:
            place(before)

    def turns(self, source: Array, seconds: float, *, in_place: bool = False) -> Iterator[tuple[float, float]]:
        """Yield the round trip and the way there of each turn, in microseconds, after a few that are not counted."""
        self.order("echo", size=source.size)
        try:
            for _ in range(3):
                self.turn(source, in_place=in_place)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                yield self.turn(source, in_place=in_place)
        finally:
            self.end_echo()

    def end_echo(self) -> None:
        self.transport.send(np.zeros(_END, np.uint8))
        self.answer()

    def turn(self, source: Array, *, in_place: bool = False) -> tuple[float, float]:
        transport = self.transport
        began = time.monotonic_ns()
        if in_place:
            transport.send_in_place(source.size, _HEAD.pack(began | _IN_PLACE))
        else:
            _HEAD.pack_into(source.data, 0, began)
            transport.send(source)
        answer = transport.receive()
        ended = time.monotonic_ns()
        (there,) = _HEAD.unpack_from(answer)
        del answer
        transport.release()
        return (ended - began) / 1e3, there / 1e3

    def stream(self, source: Array, count: int, *, pace_s: float = 0.0) -> dict[str, float]:
        """Send `count` numbered messages one way; the server's CPU share while it received, and messages per second."""
        transport, number = self.transport, 0
        self.order("sink", count=count)
        began = time.monotonic_ns()
        for number in range(count):
            source[0] = number & _MARK
            transport.send(source)
            if pace_s:
                time.sleep(pace_s)
        answer = self.answer()
        took_s = (answer["ended"] - began) / 1e9
        if answer["wrong"]:
            raise RuntimeError(f"{transport.name}: {answer['wrong']} of {count} messages lost or out of order")
        return {"per_s": count / took_s, "cpu": answer["cpu_s"] / took_s}

    def close(self) -> None:
        try:
            self.order("stop")
            self._process.join(5)
        finally:
            self._end_process()
            self.transport.close()

    def _end_process(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._orders.close()


# What the server does.


def serve(transport: Transport, orders: Connection) -> None:
    orders.recv_bytes()
    transport.open("server")
    orders.send_bytes(b"open")
    while True:
        order = json.loads(orders.recv_bytes())
        work = _WORK.get(order.pop("do"))
        if work is None:
            break
        orders.send_bytes(json.dumps(work(transport, **order)).encode())
    transport.close()


def _place(_: Transport, cpus: Iterable[int]) -> None:
    place(cpus)


def _echo(transport: Transport, size: int) -> None:
    """Answer each message with one of the same size that begins with how long the way here took, in nanoseconds."""
    source = np.ones(size, np.uint8)
    while True:
        message = transport.receive()
        now = time.monotonic_ns()
        length, (began,), last = len(message), _HEAD.unpack_from(message), message[-1]
        del message
        transport.release()
        if length == _END:
            return
        assert last >= 0
        head = now - (began & ~_IN_PLACE)
        if began & _IN_PLACE:
            transport.send_in_place(size, _HEAD.pack(head))
            continue
        _HEAD.pack_into(source.data, 0, head)
        transport.send(source)


def _sink(transport: Transport, count: int) -> dict[str, float]:
    """Take numbered messages and look at their first and last byte."""
    wrong, cpu = 0, time.process_time()
    for number in range(count):
        message = transport.receive()
        if message[0] != number & _MARK or message[-1] < 0:
            wrong += 1
        del message
        transport.release()
    return {"ended": time.monotonic_ns(), "cpu_s": time.process_time() - cpu, "wrong": wrong}


def _hold(transport: Transport, count: int, seconds: float) -> list[int]:
    """Keep each message for a while; the times at which they were given back."""
    released = []
    for _ in range(count):
        message = transport.receive()
        time.sleep(seconds)
        del message
        released.append(time.monotonic_ns())
        transport.release()
    return released


_WORK: Final[dict[str, Callable[..., Any]]] = {"place": _place, "echo": _echo, "sink": _sink, "hold": _hold}


@contextmanager
def pairs(makers: Iterable[Callable[[], Transport]], absent: list[Row], what: str) -> Iterator[list[Pair]]:
    """Connect all, and end them; what does not work here gets a row in `absent` that says so. Ours has to work."""
    made: list[Pair] = []
    try:
        for make in makers:
            pair = _pair(make(), absent, what)
            if pair is not None:
                made.append(pair)
        yield made
    finally:
        for pair in made:
            pair.close()


def _pair(transport: Transport, absent: list[Row], what: str) -> Pair | None:
    name = f"{transport.name}, {what}"
    if not transport.installed():
        absent.append(not_installed(name, "us", transport.package))
        return None
    try:
        return Pair(transport)
    except Exception as error:
        if transport.name.startswith("ringline"):
            raise
        absent.append(Row(name, "us", skipped=f"does not work here: {type(error).__name__}: {error}"))
        return None
