"""Stopping a process for good: `kill` returns before the kernel has stopped anything, and a thread on another CPU goes on meanwhile.

A test that stops a node and then expects silence would now and then hear its last word.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path


def freeze(pid: int) -> None:
    """Stop a process; return when each of its threads stands still. Raises `ProcessLookupError` if there is none."""
    os.kill(pid, signal.SIGSTOP)
    while not set(thread_states(pid)) <= set("TtZX"):
        time.sleep(0.001)


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process for a while."""
    freeze(pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def thread_states(pid: int) -> list[str]:
    """Return the kernel's letter for the state of each thread. Raises `ProcessLookupError` if the process has ended."""
    letters = []
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # this thread has ended
            letters.append(task.read_text().rpartition(")")[2].split()[0])
    if not set(letters) - {"Z", "X"}:
        raise ProcessLookupError(f"process {pid} has ended")
    return letters
