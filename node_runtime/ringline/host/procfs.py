"""What /proc tells about a process: memory, processor time, children.

Used for `get_metrics` and for the memory limit of a node. A process that has gone reads as zeros.
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


def family(pid: int, proc: Path = PROC) -> list[int]:
    """List the process and all its descendants that are alive."""
    found, queue = [], [pid]
    while queue:
        parent = queue.pop()
        found.append(parent)
        for task in _listdir(proc / str(parent) / "task"):
            try:
                queue += [int(child) for child in (task / "children").read_text().split()]
            except OSError:
                continue
    return found


def open_descriptors(proc: Path = PROC) -> int:
    """How many descriptors this process has open."""
    return len(_listdir(proc / "self" / "fd"))


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


def _listdir(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError:
        return []
