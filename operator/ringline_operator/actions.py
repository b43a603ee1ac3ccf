"""What the operator may do: plain values that `decide` returns and `act` carries out.

Each is idempotent: names are deterministic, a create that finds the object there is done, a status is written whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class CreateSession:
    """Make a replica's `MediaSession`."""

    name: str


@dataclass(frozen=True, slots=True)
class DeleteSession:
    """Delete one session; its pod follows by owner reference."""

    name: str
    uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class CreatePod:
    """Make the pod of a session's attempt from the pipeline's template."""

    session: str
    session_uid: str
    attempt: int
    claimed: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete exactly this pod (by uid)."""

    name: str
    uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClaimPod:
    """Hand a ready pod to a claim: one PATCH guarded by the resource version that was seen."""

    pod: str
    pod_uid: str
    resource_version: str
    from_session: str
    session: str
    session_uid: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PatchSession:
    """Write a session's status; only if it differs from what is there."""

    name: str
    uid: str
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PatchPipeline:
    """Write the pipeline's status; only if it differs from what is there."""

    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LabelSession:
    """Put the labels on a claim by which it is found, which its user left out."""

    name: str
    uid: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EmitEvent:
    """Tell the user by a Kubernetes Event; `kind` and `name` say about what."""

    kind: str
    name: str
    uid: str
    type: str
    reason: str
    message: str


Action = (
    CreateSession
    | DeleteSession
    | CreatePod
    | DeletePod
    | ClaimPod
    | PatchSession
    | PatchPipeline
    | LabelSession
    | EmitEvent
)


def identity(action: Action) -> tuple[str, str, str]:
    """Return what makes an action the same as one that was refused before: its kind, what it is about, and which one."""
    uid = getattr(action, "session_uid", "") or getattr(action, "uid", "")
    return type(action).__name__, subject(action), uid


def subject(action: Action) -> str:
    """Return what an action is about: those about one thing are carried out in their order, others side by side."""
    match action:
        case PatchPipeline():
            return ""
        case CreatePod() | ClaimPod():
            return action.session
        case DeletePod():
            return action.name.rpartition("-")[0]
        case _:
            return action.name
