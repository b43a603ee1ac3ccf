"""What a node's process is told by its environment: which node of which session it is, and where the session's files lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ringline import names
from ringline.errors import NodeError


@dataclass(frozen=True, slots=True)
class Identity:
    """One incarnation of a node. The token is a secret: never shown, logged or passed on."""

    session_id: str
    directory: Path
    node: str
    epoch: int
    token: str = field(repr=False)
    script: Path | None = None
    log_format: str = "text"
    code_paths: tuple[str, ...] = ()
    """Where an image has an author's node types."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Identity:
        """Read the variables that the host sets. NodeError naming the first that is missing or bad."""
        required = (names.ENV_SESSION_ID, names.ENV_SESSION_DIR, names.ENV_NODE, names.ENV_EPOCH, names.ENV_TOKEN)
        missing = next((name for name in required if not environ.get(name)), None)
        if missing is not None:
            raise NodeError(f"{missing} is not set: a node's process is started by a session, not by hand")
        epoch = environ[names.ENV_EPOCH]
        if not epoch.isdecimal():
            raise NodeError(f"{names.ENV_EPOCH} must be a whole number, not {epoch!a}")
        script = environ.get(names.ENV_SCRIPT)
        return cls(
            session_id=environ[names.ENV_SESSION_ID],
            directory=Path(environ[names.ENV_SESSION_DIR]),
            node=environ[names.ENV_NODE],
            epoch=int(epoch),
            token=environ[names.ENV_TOKEN],
            script=Path(script) if script else None,
            code_paths=tuple(path for path in (environ.get(names.ENV_CODE_DIR),) if path and Path(path).is_dir()),
            log_format=environ.get(names.ENV_LOG_FORMAT, "text"),
        )

    @property
    def labels(self) -> dict[str, object]:
        """What each log record carries."""
        return {"session": self.session_id, "node": self.node, "epoch": self.epoch}
