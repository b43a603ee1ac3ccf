"""Which Python a node runs in: asked by the host of a local session, and by the zygote in a node's container."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from ringline.errors import ProcessSpawnError
from ringline.graph.nodeconfig import NodePlan


def interpreter(node: NodePlan) -> Path:
    """Find the Python executable of a node. Raises `ProcessSpawnError` naming what is missing.

    "python" without a virtual environment means the host's own interpreter; anything else is looked up.
    """
    if node.venv_path is not None:
        found = Path(node.venv_path).absolute() / "bin" / "python"
        if not found.exists():
            raise ProcessSpawnError(
                f"Python executable not found: '{found}' (venv_path {node.venv_path} of node '{node.name}'); "
                f"make the environment with: python3 -m venv {node.venv_path}"
            )
        return found
    if node.executable == "python":
        return Path(sys.executable)
    path = shutil.which(node.executable)
    if path is None:
        raise ProcessSpawnError(
            f"Python executable not found: '{node.executable}' (python_executable of node '{node.name}'); "
            'give its full path, or "python" for the interpreter that runs this program'
        )
    return Path(path).absolute()


def command(python: Path) -> list[str] | None:
    """None for this very interpreter (the zygote forks), else the command to execute."""
    if python == Path(sys.executable):
        return None
    return [str(python), "-m", "ringline.node", "run"]
