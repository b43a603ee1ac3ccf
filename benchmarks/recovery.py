"""A reader killed while it holds every block of a writer's heap: until the writer can use them again, and what neighbours notice.

The time begins when the dead process's lock has dropped: before that nobody may touch what it held. Beside it two other
processes of the same session go on exchanging a message each millisecond.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from shutil import rmtree
from typing import Final

from benchmarks.peers.queues import CONTEXT
from benchmarks.rows import Bar, Row
from ringline.graph.layout import ChannelPlan, arena_layout
from ringline.names import HOST
from ringline.shm import Arena, Lease

_BLOCK: Final = 1 << 20
_HEAP: Final = 8
_PACE_S: Final = 0.001
_CHANNELS: Final = [
    ChannelPlan(0, "held", HOST, "output", "holder", "input", _HEAP),
    ChannelPlan(1, "beside", "feeder", "output", "taker", "input", 4),
]


def measure(*, quick: bool) -> Iterator[Row]:
    back, gaps = [], []
    for _ in range(1 if quick else 10):
        back_ms, gap_ms = _kill()
        back.append(back_ms)
        gaps.append(gap_ms)
    about = {"verdict": "blocks of a killed reader: back"}
    yield Row(
        "reader killed: its lock dropped to its blocks in use again",
        "ms",
        back,
        Bar(100.0, "0.1 s", "max"),
        labels=about,
    )
    about = {"verdict": "neighbours of a killed reader: latest message"}
    yield Row(
        "reader killed: latest message between two neighbours", "ms", gaps, Bar(100.0, "0.1 s", "max"), labels=about
    )


def _kill() -> tuple[float, float]:
    """Return until the blocks were back and the neighbours' latest message, in milliseconds."""
    layout = arena_layout(
        ["holder", "feeder", "taker", HOST], _CHANNELS, max_message_bytes=_HEAP * _BLOCK // 2, shm_bytes=128 << 20
    )
    folder = tempfile.mkdtemp(prefix="ringline-bench-", dir="/dev/shm")
    orders, theirs = {}, []
    try:
        with Arena.create(Path(folder), layout) as host:
            for work in (_hold, _feed, _take):
                orders[work.__name__], its = CONTEXT.Pipe()
                theirs.append(CONTEXT.Process(target=work, args=(folder, its), daemon=True))
                theirs[-1].start()
                its.close()
            return _measured(host, orders, theirs[0].pid or 0)
    finally:
        for process in theirs:
            process.kill()
            process.join()
            process.close()
        for end in orders.values():
            end.close()
        rmtree(folder)


def _measured(host: Arena, orders: dict[str, Connection], holder: int) -> tuple[float, float]:
    writer = host.writer(["held"])
    for _ in range(_HEAP):
        writer.send(bytes(_BLOCK), 1, b"", 0)
    for end in orders.values():
        end.recv_bytes()  # attached; the holder holds them all
    assert writer.try_loan(_BLOCK) is None
    time.sleep(0.1)
    orders["_take"].send_bytes(b"begin")
    time.sleep(0.1)
    os.kill(holder, 9)
    while host.lock_held("holder"):
        pass
    began = time.monotonic()
    while not host.reclaim("holder", keep_queue=False):
        pass
    while writer.try_loan(_BLOCK) is None:
        pass
    back_s = time.monotonic() - began
    time.sleep(0.1)
    orders["_take"].send_bytes(b"stop")
    return 1e3 * back_s, float(orders["_take"].recv_bytes()) * 1e3


def _hold(folder: str, orders: Connection) -> None:
    with Arena.attach(Path(folder), "holder") as arena:
        reader = arena.reader("held")
        held: list[Lease] = []
        while len(held) < _HEAP:
            lease = reader.next()
            if lease is None:
                arena.wait()
            else:
                held.append(lease)
        orders.send_bytes(b"held")
        time.sleep(60)


def _feed(folder: str, orders: Connection) -> None:
    with Arena.attach(Path(folder), "feeder") as arena:
        writer = arena.writer(["beside"])
        orders.send_bytes(b"attached")
        while True:
            writer.send(bytes(64), 1, b"", time.monotonic_ns())
            time.sleep(_PACE_S)


def _take(folder: str, orders: Connection) -> None:
    latest = 0
    with Arena.attach(Path(folder), "taker") as arena:
        reader = arena.reader("beside")
        orders.send_bytes(b"attached")
        while True:
            if orders.poll():
                if orders.recv_bytes() == b"stop":
                    break
                latest = 0  # only from here on: the first messages waited until this process had attached
            lease = reader.next()
            if lease is None:
                arena.wait(0.1)
            else:
                latest = max(latest, time.monotonic_ns() - lease.timestamp)
                lease.release()
    orders.send_bytes(str(latest / 1e9).encode())
