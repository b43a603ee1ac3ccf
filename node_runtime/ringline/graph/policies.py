"""How sessions of a pipeline run, begin and end: the sections `runtime`, `session`, `updateStrategy` and `ingress`.

Part of the resource's models (see `model`). The defaults of `runtime` are those of `settings.RuntimeConfig`, where
their reasons stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ringline.graph.fields import DataKey, ObjectName, PathText, Section, byte_quantity
from ringline.names import MAX_ARENA_BYTES, MAX_CAPACITY, MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    MessageBytes = int
    ShmBytes = int
else:
    MessageBytes = byte_quantity(4096, MAX_MESSAGE_BYTES)
    ShmBytes = byte_quantity(1 << 20, MAX_ARENA_BYTES)

Paths = Annotated[list[PathText], Field(max_length=16)]


class PythonSpec(Section):
    """Which Python runs a node's process."""

    executable: PathText | None = None
    """Interpreter; "python" is the application's own."""
    venv_path: PathText | None = None
    """Virtual environment whose interpreter is used."""
    extra_paths: Paths = Field(default_factory=list)
    """Folders put before `sys.path`; relative ones start at the manifest's folder."""


class RuntimeSpec(Section):
    """The settings of a session that a manifest may carry; what it leaves out comes from the layers below."""

    max_processes_per_session: int = Field(default=10, ge=0, le=1000)
    """Most node processes of one session; 0 = no limit."""
    channel_capacity: int = Field(default=100, ge=1, le=MAX_CAPACITY)
    """Messages that a channel holds unless it says otherwise."""
    init_timeout_seconds: int = Field(default=30, ge=1, le=86400)
    """Time that a node may take to become ready."""
    cleanup_grace_period_seconds: int = Field(default=5, ge=0, le=3600)
    """Time for draining and `cleanup`."""
    enable_backpressure: bool = True
    """False makes DropNewest the default overflow."""
    shm_size: ShmBytes = 256 << 20
    """Ceiling of the session's shared memory."""
    max_message_size: MessageBytes = 16 << 20
    """Largest payload of a message."""
    stall_timeout_seconds: int | None = Field(default=None, ge=0, le=86400)
    """Busy longer than this is a stall; 0 = off. Absent: 10 s for a blocked event loop, off for synchronous nodes."""
    health_check_interval_seconds: int = Field(default=5, ge=1, le=3600)
    """Time between two health checks."""
    health_check_timeout_seconds: int = Field(default=3, ge=1, le=3600)
    """Time for a health check's answer."""
    max_health_failures: int = Field(default=2, ge=1, le=100)
    """Failed checks in a row that make a node unhealthy."""
    python: PythonSpec = Field(default_factory=PythonSpec)
    """Which Python runs the nodes, unless a node says otherwise."""


class SessionSpec(Section):
    """What follows a crash, and a session's end."""

    on_node_crash: Literal["TerminateSession", "RestartNode"] = "TerminateSession"
    """A pipeline that lost a node is wrong in ways that only its author knows: end it, unless told to go on."""
    restart_policy: Literal["Never", "OnFailure", "Always"] = "OnFailure"
    """What follows a session's end."""
    max_restarts: int = Field(default=3, ge=0, le=1000)
    """Restarts within the window: of each node, and attempts of the session."""
    backoff_seconds: int = Field(default=1, ge=0, le=3600)
    """Wait before the second restart; doubles. The first is immediate."""
    max_backoff_seconds: int = Field(default=60, ge=0, le=86400)
    """Longest wait between restarts."""
    restart_window_seconds: int = Field(default=600, ge=1, le=86400)
    """Restarts longer ago than this are forgotten."""
    active_deadline_seconds: int = Field(default=0, ge=0, le=31_536_000)
    """Longest life of a session; 0 = no limit."""
    ttl_seconds_after_finished: int = Field(default=300, ge=0, le=31_536_000)
    """How long a finished session is kept to be looked at."""


class UpdateStrategy(Section):
    """When running sessions take over a changed pipeline."""

    type: Literal["OnSessionEnd", "Recreate"] = "OnSessionEnd"
    """A live call is not cut because its pipeline was edited."""


class SecretKeyRef(Section):
    """One key of a Secret in the same namespace."""

    name: ObjectName
    key: DataKey
    optional: bool = False


class IngressSpec(Section):
    """WebSocket access to a session's inputs and outputs."""

    enabled: bool = False
    """Off unless asked for: an open port is an open door."""
    token_secret_ref: SecretKeyRef | None = None
    """Bearer token that a client must show; needed when enabled."""
