"""What the decisions look at: small immutable records read from the API's objects.

`observe` makes them once per event; `decide`, `specs` and `status` take nothing else. Times are seconds since the
epoch, as the API server stamps them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ringline.graph.session_plan import SessionPolicy
from ringline.names import ENV_NODE

NODE_PREFIX = "node-"
"""Of containers that run a node."""
LABEL_PIPELINE = "ringline.dev/pipeline"
LABEL_SESSION = "ringline.dev/session"
LABEL_CLAIMED = "ringline.dev/claimed"
LABEL_REVISION = "ringline.dev/revision"
ANNOTATION_ATTEMPT = "ringline.dev/attempt"

FINISHED = ("Succeeded", "Failed")


def seconds(stamp: str | None) -> float | None:
    """Read an RFC 3339 time as seconds since the epoch; None for an absent one."""
    return datetime.fromisoformat(stamp).timestamp() if stamp else None


@dataclass(frozen=True, slots=True)
class PipelineView:
    """A pipeline as its resource stands; `problems` is empty when it was accepted."""

    namespace: str
    name: str
    uid: str
    generation: int
    revision: str
    replicas: int = 1
    suspend: bool = False
    deleting: bool = False
    recreate: bool = False
    session: SessionPolicy = field(default_factory=SessionPolicy)
    problems: tuple[str, ...] = ()
    over_budget: bool = False
    """Whether the problem is that its shared memory, or its processes, are more than it allows itself."""
    manifest: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class SessionView:
    """A `MediaSession`: a replica when a pipeline owns it, else a claim."""

    name: str
    uid: str
    created: float
    owner_uid: str | None = None
    deleting: bool = False
    phase: str = ""
    revision: str = ""
    attempt: int = 0
    pod_name: str = ""
    claimed_from: str = ""
    finished_at: float | None = None
    restarts: tuple[float, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict, compare=False)
    status: Mapping[str, Any] = field(default_factory=dict, compare=False)
    pipeline: str = ""
    generation: int | None = None
    labelled: bool = True
    """Whether it carries the labels by which sessions are found."""

    @property
    def ready(self) -> bool:
        """Say whether its status calls it ready."""
        found = (item["status"] for item in self.status.get("conditions", ()) if item["type"] == "Ready")
        return next(found, "") == "True"

    @property
    def is_claim(self) -> bool:
        """Say whether a user made it."""
        return self.owner_uid is None

    @property
    def finished(self) -> bool:
        """Say whether its last attempt is over and no other follows."""
        return self.phase in FINISHED


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container's state: `state` is waiting, running or terminated."""

    name: str
    state: str = "waiting"
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    restarts: int = 0
    finished_at: float | None = None
    ready: bool = False
    node: str = ""
    """The node that runs in it, under the pipeline's name for it; empty for the gateway."""
    started: bool = False
    image: str = ""
    place: int = 0
    """Its place in the pod's spec: the kubelet starts one after the other, and tells of them by name."""


@dataclass(frozen=True, slots=True)
class PodView:
    """A session's pod."""

    name: str
    uid: str
    resource_version: str
    session: str
    owner_uid: str
    created: float
    claimed: bool = False
    revision: str = ""
    attempt: int = 0
    phase: str = "Pending"
    ready: bool = False
    scheduled: bool = False
    deleting: bool = False
    ip: str = ""
    reason: str = ""
    message: str = ""
    containers: tuple[ContainerView, ...] = ()
    disruption: str = ""
    """Why Kubernetes takes it away: eviction, preemption, a lost host machine."""
    gone_by: float | None = None
    """When its grace period is over, if it is being deleted."""

    @property
    def over(self) -> bool:
        """Say whether no container of it will run again."""
        return self.phase in FINISHED

    @property
    def claimable(self) -> bool:
        """Say whether a claim may take it."""
        return self.ready and not self.claimed and not self.deleting and self.phase == "Running"


def session_view(body: Mapping[str, Any]) -> SessionView:
    """Read a `MediaSession` object."""
    meta, status = body["metadata"], body.get("status") or {}
    owner, labels = _owner(meta, "MediaPipeline"), meta.get("labels") or {}
    return SessionView(
        name=meta["name"],
        uid=meta["uid"],
        created=seconds(meta.get("creationTimestamp")) or 0.0,
        owner_uid=owner,
        deleting="deletionTimestamp" in meta,
        phase=status.get("phase", ""),
        revision=status.get("revision", ""),
        attempt=status.get("attempt", 0),
        pod_name=status.get("podName", ""),
        claimed_from=status.get("claimedFrom", ""),
        finished_at=seconds(status.get("finishTime")),
        restarts=tuple(stamp for item in status.get("restartTimes", ()) if (stamp := seconds(item)) is not None),
        parameters=body["spec"].get("parameters") or {},
        status=status,
        pipeline=body["spec"]["pipelineRef"]["name"],
        generation=meta.get("generation"),
        labelled=labels.get(LABEL_PIPELINE) == body["spec"]["pipelineRef"]["name"]
        and labels.get(LABEL_CLAIMED) == ("true" if owner is None else "false"),
    )


def pod_view(body: Mapping[str, Any]) -> PodView:
    """Read a pod that carries the labels of a session."""
    meta, status = body["metadata"], body.get("status") or {}
    labels, notes = meta.get("labels") or {}, meta.get("annotations") or {}
    conditions = {item["type"]: item for item in status.get("conditions", ())}
    scheduled, taken = conditions.get("PodScheduled", {}), conditions.get("DisruptionTarget", {})
    unplaced = scheduled if scheduled.get("status") == "False" else {}
    return PodView(
        name=meta["name"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        session=labels.get(LABEL_SESSION, ""),
        owner_uid=_owner(meta, "MediaSession") or "",
        created=seconds(meta.get("creationTimestamp")) or 0.0,
        claimed=labels.get(LABEL_CLAIMED) == "true",
        revision=labels.get(LABEL_REVISION, ""),
        attempt=int(notes.get(ANNOTATION_ATTEMPT, "0")),
        phase=status.get("phase", "Pending"),
        ready=conditions.get("Ready", {}).get("status") == "True",
        scheduled=scheduled.get("status") == "True",
        deleting="deletionTimestamp" in meta,
        ip=status.get("podIP", ""),
        reason=status.get("reason") or unplaced.get("reason", ""),
        message=status.get("message") or unplaced.get("message", "") or taken.get("message", ""),
        containers=_containers(body.get("spec") or {}, status),
        disruption=taken.get("reason", "") if taken.get("status") == "True" else "",
        gone_by=seconds(meta.get("deletionTimestamp")),
    )


def _owner(meta: Mapping[str, Any], kind: str) -> str | None:
    return next((ref["uid"] for ref in meta.get("ownerReferences", ()) if ref["kind"] == kind), None)


def _containers(spec: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[ContainerView, ...]:
    found: Sequence[Mapping[str, Any]] = (
        *status.get("initContainerStatuses", ()),
        *status.get("containerStatuses", ()),
    )
    names = {
        item["name"]: entry["value"]
        for item in spec.get("containers", ())
        for entry in item.get("env", ())
        if entry["name"] == ENV_NODE and "value" in entry
    }
    declared = (*spec.get("initContainers", ()), *spec.get("containers", ()))
    places = {item["name"]: place for place, item in enumerate(declared)}
    return tuple(_container(item, names.get(item["name"], ""), places.get(item["name"], 0)) for item in found)


def _container(item: Mapping[str, Any], node: str, place: int) -> ContainerView:
    kind, state = next(iter((item.get("state") or {"waiting": {}}).items()))
    return ContainerView(
        name=item["name"],
        state=kind,
        reason=state.get("reason", ""),
        message=state.get("message", ""),
        exit_code=state.get("exitCode"),
        signal=state.get("signal"),
        restarts=item.get("restartCount", 0),
        finished_at=seconds(state.get("finishedAt")),
        ready=item.get("ready", False),
        node=node or (item["name"].removeprefix(NODE_PREFIX) if item["name"].startswith(NODE_PREFIX) else ""),
        started=item.get("started") or False,
        image=item.get("image", ""),
        place=place,
    )
