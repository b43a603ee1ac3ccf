"""How long a sleeping process on another CPU takes to wake: the least that any hand-over between processes costs.

Measured as nodes work: one wake every 10 ms, so that the sleeper's CPU had time to go idle. The time runs from just before
the system call of the waker to the first instruction of Python in the sleeper.
"""

from __future__ import annotations

import ctypes
import os
import platform
import time
from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Final, cast

from benchmarks.machine import pinned, two_cpus

_NUMBER: Final = {"x86_64": 202, "aarch64": 98}
_WAIT, _WAKE = 0, 1
_WORD, _SENT, _TOOK, _SEEN = 0, 8, 16, 24
_CONTEXT: Final = get_context("spawn")


def wake_latencies(count: int, *, pace_s: float = 0.01) -> list[float]:
    """Return `count` times in microseconds; empty on a processor whose system call number is not known here."""
    if platform.machine() not in _NUMBER:
        return []
    memory = SharedMemory(create=True, size=4096)
    process = _CONTEXT.Process(target=_sleeper, args=(memory, two_cpus()[1]), daemon=True)
    words = _Words(memory)
    try:
        process.start()
        with pinned(two_cpus()[0]):
            # The first one finds a sleeper that is still starting.
            return [words.wake(number, pace_s) for number in range(1, count + 2)][1:]
    finally:
        words.write(_WORD, -1)
        words.call(_WAKE, 1)
        process.join(5)
        process.kill()
        process.join()
        process.close()
        words.forget()
        memory.close()
        memory.unlink()


class _Words:
    """Aligned words in shared memory, and the futex on the first of them."""

    def __init__(self, memory: SharedMemory) -> None:
        self._values: Any = (ctypes.c_int64 * 4).from_buffer(cast("memoryview", memory.buf))
        self._address = ctypes.addressof(self._values)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def read(self, offset: int) -> int:
        return int(self._values[offset // 8])

    def write(self, offset: int, value: int) -> None:
        self._values[offset // 8] = value

    def call(self, operation: int, value: int) -> None:
        number = ctypes.c_long(_NUMBER[platform.machine()])
        self._libc.syscall(number, ctypes.c_void_p(self._address), operation, ctypes.c_int(value), None)

    def wake(self, number: int, pace_s: float) -> float:
        while self.read(_SEEN) != number - 1:
            time.sleep(0.001)
        time.sleep(pace_s)
        self.write(_SENT, time.monotonic_ns())
        self.write(_WORD, number)
        self.call(_WAKE, 1)
        while self.read(_SEEN) != number:
            time.sleep(0.001)
        return self.read(_TOOK) / 1e3

    def forget(self) -> None:
        del self._values


def _sleeper(memory: SharedMemory, cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    words = _Words(memory)
    seen = 0
    while True:
        words.call(_WAIT, seen)
        now = time.monotonic_ns()
        word = words.read(_WORD)
        if word < 0:
            break
        if word != seen:
            words.write(_TOOK, now - words.read(_SENT))
            seen = word
            words.write(_SEEN, seen)
    words.forget()
    memory.close()
