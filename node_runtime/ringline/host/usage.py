"""The memory and processor time of a session's processes, read from /proc when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ringline.host import procfs
from ringline.host.status import NodeUsage, SessionMetrics

_MIB: Final = 1024 * 1024


def usage(pids: Mapping[str, int | None], arena_bytes: int) -> SessionMetrics:
    """Sum up what the nodes' processes use; a node without one counts nothing."""
    nodes = {name: _node(pid) for name, pid in pids.items()}
    return SessionMetrics(
        memory_mb=sum(node.memory_mb for node in nodes.values()),
        rss_mb=sum(node.rss_mb for node in nodes.values()),
        process_count=sum(node.pid is not None for node in nodes.values()),
        arena_mb=arena_bytes / _MIB,
        nodes=nodes,
    )


def _node(pid: int | None) -> NodeUsage:
    if pid is None:
        return NodeUsage(None, 0.0, 0.0, 0.0)
    found = procfs.memory(pid)
    return NodeUsage(pid, found.pss / _MIB, found.rss / _MIB, procfs.cpu_seconds(pid))
