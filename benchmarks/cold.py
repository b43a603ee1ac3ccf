"""The first message between two processes that have just started, against the later ones at the same pace.

Pages that nobody touched yet, a heap that is cut for the first time, code that was never run: all that is paid by the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from benchmarks.pairs import PLACES, Pair
from benchmarks.peers.base import Transport
from benchmarks.peers.iceoryx import IceoryxTransport
from benchmarks.peers.ours import RawRinglineTransport
from benchmarks.peers.shared import SharedMemoryTransport
from benchmarks.rows import Bar, Row, not_installed, percentile

SIZES: Final = {"64 B": 64, "64 KiB": 64 << 10, "1 MiB": 1 << 20}
_LATER: Final = 15
_PACE_S: Final = 0.01


def measure(*, quick: bool) -> Iterator[Row]:
    for maker in (RawRinglineTransport, IceoryxTransport, SharedMemoryTransport):
        if not maker.installed():
            yield not_installed(f"{maker.name}, first message", "x", maker.package)
            continue
        for label, size in SIZES.items():
            if quick and size > 64:
                continue
            yield _row(maker, label, [_ratio(maker, size) for _ in range(1 if quick else 7)])


def _row(maker: type[Transport], label: str, ratios: list[float]) -> Row:
    ours = maker is RawRinglineTransport
    labels = {"peer": maker.name, "size": label, "way": "first"}
    about = {"verdict": f"first message after start against later ones, {label}"} if ours else {}
    bar = Bar(1.5, "1.5 x the later ones") if ours else None
    return Row(
        f"{maker.name}, {label}, first round trip by a later one's median", "x", ratios, bar, labels=labels | about
    )


def _ratio(maker: Callable[[], Transport], size: int) -> float:
    pair = Pair(maker())
    try:
        with pair.placed(PLACES[0]):
            source = np.ones(size, np.uint8)
            pair.order("echo", size=size)
            first, *later = [_paced(pair, source) for _ in range(1 + _LATER)]
            pair.end_echo()
            return first / percentile(later, 0.5)
    finally:
        pair.close()


def _paced(pair: Pair, source: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> float:
    time.sleep(_PACE_S)
    return pair.turn(source)[0]
