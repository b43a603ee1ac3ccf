"""What /proc tells about one process: memory and processor time. A process that has gone reads as zeros.

Read by the host for the nodes of its machine, and by the zygote of a pod's container for its own node: the gateway sees no
other container's processes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one process: `pss` (shared pages divided), `rss`, and `anonymous` (its own, what a limit counts)."""

    pss: int = 0
    rss: int = 0
    anonymous: int = 0


@dataclass(frozen=True, slots=True)
class Use:
    """What a node's present process uses: bytes of memory, seconds of processor time so far."""

    pss: int = 0
    rss: int = 0
    cpu_s: float = 0.0


def use(pid: int | None, proc: Path = PROC) -> Use:
    """Measure a process; nothing is used by none."""
    if pid is None:
        return Use()
    found = memory(pid, proc)
    return Use(found.pss, found.rss, cpu_seconds(pid, proc))


def memory(pid: int, proc: Path = PROC) -> Memory:
    """PSS and RSS from smaps_rollup, anonymous pages from status; zeros for a process that has gone."""
    rollup = _fields(proc / str(pid) / "smaps_rollup")
    return Memory(rollup.get("Pss", 0), rollup.get("Rss", 0), anonymous(pid, proc))


def anonymous(pid: int, proc: Path = PROC) -> int:
    """Anonymous resident bytes: neither the arena nor shared libraries, hence what the node itself allocated."""
    return _fields(proc / str(pid) / "status").get("RssAnon", 0)


def cpu_seconds(pid: int, proc: Path = PROC) -> float:
    """User and system time so far, in seconds."""
    try:
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _fields(path: Path) -> dict[str, int]:
    """``Name:   123 kB`` lines as bytes."""
    result: dict[str, int] = {}
    try:
        text = path.read_text()
    except OSError:
        return result
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB":
            result[name] = int(words[0]) * 1024
    return result
