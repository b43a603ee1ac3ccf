"""Which step each thread of each worker is in, and since when: words in a shared file that outlive their writer.

A worker notes a step before it begins and clears the note after it. When the worker is dead or hangs, the pool reads whose step
that was. One file per pool, in the session's directory.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path
from typing import Final, NamedTuple

from ringline.shm._core import load_word, store_word

THREADS: Final = 64
"""Notes per worker."""
_NOTE: Final = 16


class Note(NamedTuple):
    """A step in work: its number, and CLOCK_MONOTONIC in ns when it began."""

    step: int
    began_ns: int


class Ledger:
    """The notes of all workers of a pool."""

    def __init__(self, path: Path, workers: int, *, create: bool = False) -> None:
        size = workers * THREADS * _NOTE
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0), 0o600)
        try:
            if create:
                os.posix_fallocate(descriptor, 0, size)
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    def begin(self, worker: int, thread: int, step: int) -> None:
        """Note that a step begins."""
        where = self._where(worker, thread)
        store_word(self._map, where + 8, time.monotonic_ns())
        store_word(self._map, where, step)

    def end(self, worker: int, thread: int) -> None:
        """Clear the note."""
        store_word(self._map, self._where(worker, thread), 0)

    def running(self, worker: int) -> list[Note]:
        """Give the notes of a worker, dead or alive."""
        places = (self._where(worker, thread) for thread in range(THREADS))
        found = (Note(load_word(self._map, where), load_word(self._map, where + 8)) for where in places)
        return [note for note in found if note.step]

    def clear(self, worker: int) -> None:
        """Clear what a dead worker noted."""
        for thread in range(THREADS):
            self.end(worker, thread)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()

    def _where(self, worker: int, thread: int) -> int:
        return (worker * THREADS + thread) * _NOTE
