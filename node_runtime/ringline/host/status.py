"""The values that a session shows: progress, status and use of memory. Frozen, printable, JSON-able.

Made by the supervisor and the inline engine, read by applications, the CLI and the metrics.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ringline.host.exits import ExitRecord

PROGRESS_STATES: Final = ("starting", "loading", "connecting", "ready", "failed")


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a node's start: `progress` from 0 to 1, `message` a sentence or ""."""

    node_id: str
    status: str
    progress: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """How one node is.

    `state` is one of starting, loading, connecting, ready, running, stopping, stopped, failed, restarting;
    `pid` is None while it has no process; `epoch` counts its incarnations from 1.
    """

    state: str
    pid: int | None = None
    epoch: int = 0
    restarts: int = 0
    progress: float = 0.0
    message: str = ""
    healthy: bool = True
    health_failures: int = 0
    last_exit: ExitRecord | None = None


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """How a session is: `state` is one of new, starting, ready, running, stopping, ended, failed, closed."""

    session_id: str
    state: str
    nodes: dict[str, NodeStatus]
    message: str = ""

    def as_json(self) -> dict[str, Any]:
        """Give the same as JSON-able values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class NodeUsage:
    """Memory of one node's process: PSS shares shared pages out fairly, RSS counts them everywhere, in MiB."""

    pid: int | None
    memory_mb: float
    rss_mb: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class SessionMetrics:
    """Sums over the node processes of a session. `memory_mb` is PSS, `rss_mb` counts shared pages in each."""

    memory_mb: float
    rss_mb: float
    process_count: int
    arena_mb: float
    nodes: dict[str, NodeUsage] = field(default_factory=dict)
