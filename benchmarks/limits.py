"""What the machine allows: copies of memory, the waking of a sleeper on another CPU, the first touch of a page.

The other benchmarks are read beside these, measured in the same run.
"""

from __future__ import annotations

import mmap
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import numpy as np

from benchmarks.futex import wake_latencies
from benchmarks.peers.base import LARGEST, Array
from benchmarks.rows import Row

_PAGES = 256


def measure(*, quick: bool) -> Iterator[Row]:
    seconds = 0.05 if quick else 0.6
    for label, size in (("1 MiB", 1 << 20), ("10 MiB", LARGEST)):
        copies = [time_us / 2 for time_us in two_copies(np.ones(size, np.uint8), seconds)]
        yield Row(f"memcpy of {label} into shared memory", "us", copies, labels={"limit": f"memcpy of {label}"})
    wakes = wake_latencies(20 if quick else 200)
    yield Row("futex wake on another CPU, asleep for 10 ms", "us", wakes, labels={"limit": "futex wake on another CPU"})
    yield Row(
        "first touch of a page of /dev/shm", "us", list(_faults(quick)), labels={"limit": "first touch of a page"}
    )


def two_copies(source: Array, seconds: float) -> Iterator[float]:
    """Copy one array into shared memory, then another one elsewhere, as the two sides of a round trip must; in microseconds."""
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


def _faults(quick: bool) -> Iterator[float]:
    for _ in range(5 if quick else 50):
        with tempfile.TemporaryFile(dir="/dev/shm") as file:
            file.truncate(_PAGES * mmap.PAGESIZE)
            with closing(mmap.mmap(file.fileno(), 0)) as memory:
                began = time.monotonic_ns()
                for at in range(0, len(memory), mmap.PAGESIZE):
                    memory[at] = 1
                yield (time.monotonic_ns() - began) / 1e3 / _PAGES
