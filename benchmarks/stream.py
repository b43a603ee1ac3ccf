"""Messages one way as fast as they go, without loss and in order, beside peers; the sender copies each one.

Every way that lets one choose has room for 100 messages; Ringline's blocks come from a heap of the default size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np

from benchmarks.pairs import PLACES, Pair, pairs
from benchmarks.peers.sockets import ZmqTransport
from benchmarks.rows import Bar, Row, percentile
from benchmarks.transfer import EVENTS, RAW, transports

DEPTH: Final = 100
SIZES: Final = {"64 B": 64, "1 MiB": 1 << 20}
_SECONDS: Final = 0.25
_TWO, _, _ANYWHERE = PLACES
Rates = dict[tuple[str, str, str], list[float]]
"""Messages per second in each round, by peer, size and place."""


def measure(*, quick: bool) -> Iterator[Row]:
    rates: Rates = defaultdict(list)
    absent: list[Row] = []
    for label, size in list(SIZES.items())[: 1 if quick else None]:
        makers = [partial(maker, DEPTH, size, streaming=True) for maker in transports()]
        with pairs(makers, absent, f"{label}, stream") as connected:
            counts = {pair.transport.name: _count(pair, size) for pair in connected}
            for _ in range(1 if quick else 5):
                for where in (_TWO,) if quick else (_TWO, _ANYWHERE):
                    _round(connected, (label, where), counts, rates, quick=quick)
    for (name, label, where), values in rates.items():
        labels = {"peer": name, "size": label, "way": "stream", "place": where}
        place = "" if where == _TWO else f", {where}"
        yield Row(f"{name}, {label}, stream{place}", "msg/s", values, labels=labels)
    yield from verdicts(rates)
    yield from absent


def _count(pair: Pair, size: int) -> int:
    """Return how many messages take about `_SECONDS`."""
    with pair.placed(_TWO):
        return max(DEPTH, int(pair.stream(np.ones(size, np.uint8), 2 * DEPTH)["per_s"] * _SECONDS))


def _round(connected: list[Pair], about: tuple[str, str], counts: dict[str, int], rates: Rates, *, quick: bool) -> None:
    label, where = about
    source = np.ones(SIZES[label], np.uint8)
    for pair in connected:
        name = pair.transport.name
        with pair.placed(where):
            count = min(counts[name], 2 * DEPTH) if quick else counts[name]
            rates[name, label, where].append(pair.stream(source, count)["per_s"])


def verdicts(rates: Rates) -> Iterator[Row]:
    for label, peer, share in (("64 B", EVENTS, 4.0), ("64 B", ZmqTransport.name, 2.0), ("1 MiB", EVENTS, 1.0)):
        mine, theirs = rates.get((RAW, label, _TWO)), rates.get((peer, label, _TWO))
        if mine and theirs:
            bar = Bar(share * percentile(theirs, 0.5), f"{share:g} x {peer}", least=True)
            about = {"verdict": f"{label}, stream, {_TWO}"}
            yield Row(f"{RAW} against {peer}, {label}, stream", "msg/s", mine, bar, labels=about)
