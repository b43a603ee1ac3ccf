"""What a container of a session's pod is told by its environment; read by the zygote and by the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringline import names
from ringline.errors import SettingsError
from ringline.node.termination import DEFAULT_PATH

FIRST_PROBE_PORT = 9101
STATUS_PORT = 9090
INGRESS_PORT = 9443
PLAN_FOLDER = Path("/etc/ringline")
SESSION_FOLDER = Path("/dev/shm/ringline")  # noqa: S108  (the pod's own memory volume)


@dataclass(frozen=True, slots=True)
class PodEnvironment:
    """Session, node ("gateway" in the gateway's container), folders, and where the last words go."""

    session_id: str
    node: str
    directory: Path
    plan_folder: Path
    termination_log: Path
    log_format: str

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> PodEnvironment:
        """Read the variables. `SettingsError` names one that is missing."""
        for name in (names.ENV_SESSION_ID, names.ENV_NODE):
            if not environ.get(name):
                raise SettingsError(f"{name} is not set: this program runs in a container of a session's pod")
        return cls(
            session_id=environ[names.ENV_SESSION_ID],
            node=environ[names.ENV_NODE],
            directory=Path(environ.get(names.ENV_SESSION_DIR) or SESSION_FOLDER),
            plan_folder=Path(environ.get(names.ENV_PLAN_DIR) or PLAN_FOLDER),
            termination_log=Path(environ.get(names.ENV_TERMINATION_LOG) or DEFAULT_PATH),
            log_format=environ.get(names.ENV_LOG_FORMAT, "json"),
        )

    @property
    def plan_file(self) -> Path:
        return self.plan_folder / names.PLAN_FILE

    @property
    def labels(self) -> dict[str, Any]:
        """What each log line carries."""
        return {"session": self.session_id, "node": self.node}


def port(environ: Mapping[str, str], name: str, default: int) -> int:
    """Read a port number; 0 takes a free one. `SettingsError` for anything else."""
    text = environ.get(name) or str(default)
    if not text.isdecimal() or int(text) > 65535:
        raise SettingsError(f"{name} must be a port number, not {text!a}")
    return int(text)
