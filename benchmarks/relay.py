"""Large messages through several nodes: a chain that passes a block on, and one block for several readers.

Measured by the application, with `Session.send` and `Session.receive`: sending copies the array into a block once, the nodes
pass that block on. One node, or one reader, is measured in the same rounds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Final

import numpy as np

from benchmarks.peers.base import LARGEST
from benchmarks.rows import Bar, Row, percentile
from benchmarks.sessions import chain, node, running
from ringline import Pipeline, RuntimeData, Session

MANY: Final = 4
_PASS: Final = "SyncPass"
Times = dict[str, list[float]]


def measure(*, quick: bool) -> Iterator[Row]:
    rounds = 3 if quick else 60
    one, many = (chain([node(_PASS)] * count) for count in (1, MANY))
    yield from _rows("chain", "one node", asyncio.run(_both(one, ["n0"], many, [f"n{MANY - 1}"], rounds)))
    readers = [f"r{number}" for number in range(1, MANY + 1)]
    one, many = _fan(readers[:1]), _fan(readers)
    yield from _rows("fan-out", "one reader", asyncio.run(_both(one, readers[:1], many, readers, rounds)))


def _rows(what: str, single: str, times: Times) -> Iterator[Row]:
    yield Row(f"{what}: 10 MiB through {single} and back", "us", times["one"], labels={"way": what, "size": single})
    name = f"{MANY} nodes" if what == "chain" else f"{MANY} readers"
    bar = Bar(1.4 * percentile(times["one"], 0.5), f"1.4 x {single}")
    about = {"verdict": f"10 MiB to {name}, {what}", "way": what, "size": name}
    yield Row(f"{what}: 10 MiB through {name} and back", "us", times["many"], bar, labels=about)


def _fan(readers: list[str]) -> Pipeline:
    pipeline = chain([node(_PASS)])
    for name in readers:
        pipeline.add_node(node(_PASS), name).connect("n0", "output", name, "input")
    return pipeline


async def _both(one: Pipeline, end: list[str], many: Pipeline, ends: list[str], rounds: int) -> Times:
    """Run both sessions side by side, and give each its turns; the named nodes are those that answer."""
    source = np.ones(LARGEST, np.uint8)
    times: Times = {"one": [], "many": []}
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running(one))
        second = await stack.enter_async_context(running(many))
        for number in range(rounds + 3):
            for name, session, answering in (("one", first, end), ("many", second, ends)):
                took = await _through(session, source, answering)
                if number >= 3:
                    times[name].append(took)
    return times


async def _through(session: Session, source: np.ndarray[tuple[int], np.dtype[np.uint8]], ends: list[str]) -> float:
    began = time.monotonic()
    await session.send("n0", RuntimeData.tensor(source))
    for end in ends:
        got = await session.receive(end, timeout=10)
        array = got.as_numpy()
        assert array[0] == array[-1] == 1
        del array
        got.release()
    return (time.monotonic() - began) * 1e6
