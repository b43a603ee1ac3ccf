"""What single operations between agents cost, and what batches, arrays and shared beliefs are worth: for the agents' page.

`benchmarks.agents` adds them to its report. Each is timed alone, several times, and told as its median in µs.
"""

from __future__ import annotations

import multiprocessing
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from ringline.agents import AgentPool, SharedState

REPEATS: Final = 7
LARGE: Final = 100_000
"""Numbers of the observation that is sent as an array and as a list."""
ECHO: Final = "ringline.bench.work:Silent"
Row = dict[str, Any]


def timed(what: Callable[[], object], count: int) -> float:
    """Give the median time of one call in µs, of several loops of `count`."""
    spent = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(count):
            what()
        spent.append((time.perf_counter() - began) / count)
    return 1e6 * median(spent)


def operations(count: int = 1000) -> list[Row]:
    """Measure all; `count` calls for the quickest, fewer for slower ones."""
    return [*_threads(count), *_processes(count), *_state(count), *_switches(max(2, count // 20))]


def _row(name: str, us: float) -> Row:
    return {"operation": name, "us": round(us, 3)}


def _threads(count: int) -> Iterator[Row]:
    beliefs, lock = {"mean": [0.25] * 4}, threading.Lock()

    def read() -> object:
        with lock:
            return beliefs["mean"]

    line: queue.SimpleQueue[int] = queue.SimpleQueue()

    def pass_on() -> None:
        line.put(1)
        line.get()

    yield _row("threads: read a shared value under a lock", timed(read, count))
    yield _row("threads: put into a queue and get", timed(pass_on, count))


def _serve(asked: Any, answered: Any) -> None:
    while (found := asked.get()) is not None:
        answered.put(found)


@contextmanager
def _echo() -> Iterator[Callable[[], object]]:
    context = multiprocessing.get_context("fork")
    asked, answered = context.Queue(), context.Queue()
    process = context.Process(target=_serve, args=(asked, answered), daemon=True)
    process.start()

    def ask() -> object:
        asked.put(1)
        return answered.get()

    try:
        yield ask
    finally:
        asked.put(None)
        process.join()
        for each in (asked, answered):
            each.close()
            each.join_thread()


def _processes(count: int) -> Iterator[Row]:
    with _echo() as ask:
        yield _row("processes: multiprocessing.Queue, there and back", timed(ask, max(2, count // 20)))
    with multiprocessing.Manager() as manager:
        beliefs = manager.dict(mean=[0.25] * 4)
        yield _row("processes: read from a manager's dict", timed(lambda: beliefs["mean"], max(2, count // 20)))


def _state(count: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        state = SharedState.create(Path(folder, "state"), size_bytes=1 << 16, max_entries=16)
        state["mean"] = [0.25] * 4
        yield _row("processes: read from SharedState", timed(lambda: state["mean"], count))
        yield _row("processes: write to SharedState", timed(lambda: state.put("mean", [0.25] * 4), count))
        state.close()


def _switches(count: int) -> Iterator[Row]:
    """Measure what can be left out, with it and without it; each in steps of a pool of one worker."""
    array = np.arange(LARGE, dtype=np.float64)
    for batching in (True, False):
        with AgentPool("process", workers=1, batching=batching) as pool:
            for number in range(10):
                pool.add(f"a{number}", ECHO).result()
            together = timed(lambda: pool.map((f"a{number % 10}", 0) for number in range(100)), max(1, count // 10))
            word = "on" if batching else "off"
            yield _row(f"a step of 100 that wait, batching {word}", together / 100)
    with AgentPool("process", workers=1) as pool:
        pool.add("a", ECHO).result()
        large = timed(lambda: pool.submit("a", array).result(), max(1, count // 10))
        yield _row(f"{LARGE} numbers there and back, as an array in shared memory", large)
        values = array.tolist()
        large = timed(lambda: pool.submit("a", values).result(), max(1, count // 50))
        yield _row(f"{LARGE} numbers there and back, as a list", large)
        pool.state["belief"] = array
        yield _row(f"{LARGE} numbers read from shared state", timed(lambda: pool.state["belief"], count))
