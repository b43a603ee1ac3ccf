"""What a process holds that outlives a function: the guard in conftest compares it before and after each test.

It looks twice for each of some thousand tests, so it asks the kernel without the objects of pathlib, which double the time.
"""

# ruff: noqa: PTH115, PTH123, PTH208

from __future__ import annotations

import contextlib
import gc
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Snapshot:
    """Child processes (all generations), threads, sockets, and entries of the shared-memory folder."""

    children: frozenset[tuple[int, float, str]]
    threads: frozenset[tuple[int, str]]
    sockets: int
    shm: frozenset[str]

    @staticmethod
    def take(shm_root: Path) -> Snapshot:
        return Snapshot(children(), threads(), count_sockets(), entries(shm_root))

    def beyond(self, before: Snapshot) -> list[str]:
        """Name what is here and was not there before; empty when nothing was left."""
        left = [f"process {pid} ({name})" for pid, _, name in sorted(self.children - before.children)]
        left += [f"thread {name}" for _, name in sorted(self.threads - before.threads)]
        left += [f"shared memory {entry}" for entry in sorted(self.shm - before.shm)]
        if self.sockets > before.sockets:
            gc.collect()
            more = count_sockets() - before.sockets
            left += [f"{more} sockets"] if more > 0 else []
        return left

    def end_children(self, before: Snapshot) -> None:
        for pid, _, _ in self.children - before.children:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()


def children() -> frozenset[tuple[int, float, str]]:
    """Return all processes that descend from this one: id, start, command."""
    found = set()
    for pid in descendants(os.getpid()):
        with contextlib.suppress(psutil.NoSuchProcess):
            child = psutil.Process(pid)
            found.add((pid, child.create_time(), " ".join(child.cmdline())[:120] or child.name()))
    return frozenset(found)


def descendants(pid: int) -> list[int]:
    """Ask the kernel for the children of one process, and so on: looking at every process would take 20 ms each time."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as children:
                found += map(int, children.read().split())
    return found + [deeper for child in found for deeper in descendants(child)]


def threads() -> frozenset[tuple[int, str]]:
    return frozenset((thread.ident or 0, thread.name) for thread in threading.enumerate())


def count_sockets() -> int:
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
    return count


def entries(root: Path) -> frozenset[str]:
    """List session directories, two levels deep: a user's folder stays when a host is killed as it starts, what is in it may not."""
    return frozenset(str(path.relative_to(root)) for path in root.glob("*/*")) | frozenset(
        path.name for path in root.iterdir() if not path.is_dir()
    )
