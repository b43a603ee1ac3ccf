"""What can be refused before any process is started: too many nodes, descriptors, processes, or no interpreter.

Called once by the supervisor at the beginning of `initialize`.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ringline.errors import ProcessSpawnError, ResourceLimitError
from ringline.graph.plan import SessionPlan
from ringline.host import procfs
from ringline.node.interpreter import interpreter

DESCRIPTORS_BASE: Final = 64
"""ZeroMQ's context, arena, locks, the zygote's socket, and what the application opens in the meantime."""
DESCRIPTORS_PER_NODE: Final = 4
"""A control connection and its signaler in the host; two log pipes in the zygote, which inherits the limit."""
PROCESSES_BASE: Final = 8


def check_limits(plan: SessionPlan) -> None:
    """Raise `ResourceLimitError` if the session can't fit this process' and this user's limits."""
    count = len(plan.nodes)
    allowed = plan.runtime.max_processes_per_session
    if allowed is not None and count > allowed:
        raise ResourceLimitError(
            f"pipeline '{plan.pipeline}' has {count} nodes but max_processes_per_session is {allowed}; "
            "raise it (None or 0 = unlimited) or use fewer nodes"
        )
    _check_descriptors(count)
    _check_processes(count)


def _check_descriptors(count: int) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    left = soft - procfs.open_descriptors()
    needed = DESCRIPTORS_BASE + DESCRIPTORS_PER_NODE * count
    if left < needed:
        raise ResourceLimitError(
            f"a session of {count} nodes needs {needed} file descriptors but only {left} of {soft} are left; "
            "raise the limit (ulimit -n) or close some"
        )


def _check_processes(count: int) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if os.getuid() != 0 and soft != resource.RLIM_INFINITY:
        # The user's whole count is not cheap to read; a limit below our own need can never work.
        _refuse_processes(soft, count, "ulimit -u")
    limit, used = _cgroup_pids()
    if limit is not None:
        _refuse_processes(limit - used, count, "the cgroup's pids.max")


def _refuse_processes(left: int, count: int, where: str) -> None:
    needed = count + PROCESSES_BASE
    if left < needed:
        raise ResourceLimitError(
            f"a session of {count} nodes needs {needed} processes and threads but {where} leaves {left}; raise it"
        )


def _cgroup_pids(root: Path = Path("/sys/fs/cgroup")) -> tuple[int | None, int]:
    for folder in (root, root / "pids"):
        try:
            limit = (folder / "pids.max").read_text().strip()
            return (None if limit == "max" else int(limit)), int((folder / "pids.current").read_text())
        except (OSError, ValueError):
            continue
    return None, 0


def check_environment(plan: SessionPlan, environ: Mapping[str, str]) -> None:
    """Refuse a node whose variable comes by reference (a Secret on Kubernetes) and is not set here."""
    for node in plan.nodes:
        missing = [name for name in node.secret_env if name not in environ]
        if missing:
            raise ProcessSpawnError(
                f"node '{node.name}' takes the environment variable {missing[0]} from a Secret; on this machine set it "
                "in the application's own environment"
            )


def interpreters(plan: SessionPlan) -> dict[str, Path]:
    """Find the interpreter of every node, all checked."""
    return {node.name: interpreter(node) for node in plan.nodes}
