"""What a node's process is given at its start: environment and, for another interpreter, its command line.

Everything else is in the NodeConfig document, which is the same bytes for every node (`plan.json`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ringline.graph.plan import NodePlan, SessionPlan
from ringline.names import (
    ENV_EPOCH,
    ENV_LOG_FORMAT,
    ENV_NODE,
    ENV_SCRIPT,
    ENV_SESSION_DIR,
    ENV_SESSION_ID,
    ENV_TOKEN,
    PLAN_FILE,
    RESERVED_ENV_PREFIX,
)
from ringline.node import interpreter


@dataclass(frozen=True, slots=True)
class Launch:
    """What all nodes of one session share. `token` is the session's control secret."""

    session_id: str
    directory: Path
    token: str
    script: Path | None
    interpreters: Mapping[str, Path]

    def environment(self, node: NodePlan, epoch: int) -> dict[str, str]:
        """Give the variables to add for one incarnation of a node."""
        own = {
            ENV_SESSION_ID: self.session_id,
            ENV_SESSION_DIR: str(self.directory),
            ENV_NODE: node.name,
            ENV_EPOCH: str(epoch),
            ENV_TOKEN: self.token,
        }
        if self.script is not None:
            own[ENV_SCRIPT] = str(self.script)
        return {**node.env, **own}

    def command(self, node: NodePlan) -> list[str] | None:
        """None for the host's own interpreter (the zygote forks), else the command to execute."""
        return interpreter.command(self.interpreters[node.name])


def zygote_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the host's environment without our own variables, which belong to one session or one process.

    Our package's folder goes to the front of PYTHONPATH, so that the zygote runs this very version.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(RESERVED_ENV_PREFIX) or name in (ENV_LOG_FORMAT, "RINGLINE_FAILPOINT")
    }
    package = str(Path(__file__).resolve().parents[2])
    path = [package, *(part for part in kept.get("PYTHONPATH", "").split(os.pathsep) if part and part != package)]
    return {**kept, "PYTHONPATH": os.pathsep.join(path)}


def main_script() -> Path | None:
    """Give the application's main script, where node classes may be defined; None when there is no such file."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if not file or not str(file).endswith(".py"):
        return None
    path = Path(file).absolute()
    return path if path.is_file() else None


def write_plan(directory: Path, plan: SessionPlan) -> None:
    """Write the NodeConfig document, readable by this user only."""
    descriptor = os.open(directory / PLAN_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(plan.node_config())
