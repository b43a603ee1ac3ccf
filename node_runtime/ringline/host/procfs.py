"""What /proc tells about the processes of a session on this machine: each one's use, and who came from whom.

Used for `get_metrics` and for the memory limit of a node. A process that has gone reads as zeros.
"""

from __future__ import annotations

from pathlib import Path

from ringline.node.procfs import PROC, Memory, Use, anonymous, cpu_seconds, memory, use

__all__ = ["PROC", "Memory", "Use", "anonymous", "cpu_seconds", "family", "memory", "open_descriptors", "use"]


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


def _listdir(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError:
        return []
