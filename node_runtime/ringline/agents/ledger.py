"""Which step each thread of each worker is in, since when, and which steps are not wanted any more: words in a shared file.

A worker notes a step before it begins and clears the note after it. When the worker is dead or hangs, the pool reads whose step
that was. The pool marks a step that it sent and that was cancelled; a worker looks at the mark after its note, the pool at
the note after its mark, so that one of them sees the other. One file per pool, in the session's directory.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path
from typing import Final, NamedTuple

from ringline.shm._core import load_word, store_word

THREADS: Final = 64
"""Notes per worker for steps."""
MAKER: Final = THREADS
"""The note after them: which agent is being made, by the number of its first step."""
SLOTS: Final = 512
"""Cancel marks per worker: as many steps may be on their way to it."""
_NOTE: Final = 16
_NOTES: Final = (THREADS + 1) * _NOTE
_WORKER: Final = _NOTES + SLOTS * 8


class Note(NamedTuple):
    """A step in work: its number, and CLOCK_MONOTONIC in ns when it began."""

    step: int
    began_ns: int


class Ledger:
    """The notes and marks of all workers of a pool."""

    def __init__(self, path: Path, workers: int, *, create: bool = False) -> None:
        size = workers * _WORKER
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0), 0o600)
        try:
            if create:
                os.posix_fallocate(descriptor, 0, size)
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    def begin(self, worker: int, thread: int, step: int, began_ns: int = 0) -> None:
        """Note that a step begins."""
        where = worker * _WORKER + thread * _NOTE
        store_word(self._map, where + 8, began_ns or time.monotonic_ns())
        store_word(self._map, where, step)

    def end(self, worker: int, thread: int) -> None:
        """Clear the note."""
        store_word(self._map, worker * _WORKER + thread * _NOTE, 0)

    def running(self, worker: int) -> list[Note]:
        """Give the notes of a worker, dead or alive."""
        places = (worker * _WORKER + thread * _NOTE for thread in range(THREADS + 1))
        found = (Note(load_word(self._map, where), load_word(self._map, where + 8)) for where in places)
        return [note for note in found if note.step]

    def clear(self, worker: int) -> None:
        """Clear what a dead worker noted."""
        for thread in range(THREADS + 1):
            self.end(worker, thread)

    def cancel(self, worker: int, slot: int, step: int) -> None:
        """Mark a step that was sent with this slot as not wanted."""
        store_word(self._map, worker * _WORKER + _NOTES + slot * 8, step)

    def cancelled(self, worker: int, slot: int, step: int) -> bool:
        """Say whether a step is not wanted; asked after its note."""
        return load_word(self._map, worker * _WORKER + _NOTES + slot * 8) == step

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
