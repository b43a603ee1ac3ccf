"""What the figures were measured on, and where processes run: two CPUs, one for each side, if there are two."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

PEERS = ("numpy", "pyzmq", "iceoryx2", "av", "opencv-python-headless")


def facts() -> dict[str, Any]:
    return {
        "cpus": sorted(os.sched_getaffinity(0)),
        "cpu": _cpu_name(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_1min": os.getloadavg()[0],
        "packages": {name: _version(name) for name in PEERS},
    }


def two_cpus() -> tuple[int, int]:
    """Name the CPUs of the two sides; the same one twice where there is only one."""
    cpus = sorted(os.sched_getaffinity(0))
    return cpus[0], cpus[1 % len(cpus)]


def place(cpus: Iterable[int]) -> None:
    """Let all threads of this process, those of libraries too, run on these CPUs only."""
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), set(cpus))


@contextmanager
def pinned(*cpus: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    place(cpus)
    try:
        yield
    finally:
        place(before)


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
