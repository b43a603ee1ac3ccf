"""Statuses: what a session's and a pipeline's resource says of itself. Pure; times are arguments.

`outcome_of` decides whether an attempt is over and why; the builders return the whole status, so that writing it twice
is the same as writing it once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ringline_operator.views import ContainerView, PipelineView, PodView, SessionView

if TYPE_CHECKING:
    from ringline_operator.decide.world import Denial

GATEWAY = "gateway"
NODE_PREFIX = "node-"
INGRESS_PORT = 9443
BACKSTOP_SECONDS = 30.0
"""A gateway ends its pod's other nodes after a crash; one that has not after this long is given up."""
WAITING_FAULTS = frozenset({
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
    "CreateContainerError", "RunContainerError", "CrashLoopBackOff",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt; `at` in seconds since the epoch."""

    succeeded: bool
    reason: str
    message: str
    at: float


def rfc3339(moment: float) -> str:
    """Write a time as Kubernetes does, whole seconds in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def exit_record(container: ContainerView) -> dict[str, Any]:
    """Return the record that a node or the gateway left as its termination message, or {}."""
    try:
        record = json.loads(container.message)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def outcome_of(session: SessionView, pod: PodView | None, now: float) -> Outcome | None:
    """Say whether and why the present attempt of `session` is over; None while it lives or has not begun."""
    if pod is None:
        if not session.pod_name:
            return None
        text = f"pod {session.pod_name} is gone: it was deleted or evicted, or its host machine was lost"
        return Outcome(False, "PodLost", text, _ended_at(session, now))
    if pod.over:
        return _pod_outcome(session, pod, now)
    late = [item for item in _failed(pod.containers) if now - (item.finished_at or now) > BACKSTOP_SECONDS]
    return _blame(late, now) if late else None


def _pod_outcome(session: SessionView, pod: PodView, now: float) -> Outcome:
    ends = [item.finished_at for item in pod.containers if item.finished_at]
    at = max(ends) if ends else _ended_at(session, now)
    if pod.phase == "Succeeded":
        return Outcome(True, "Completed", "all nodes have ended", at)
    if pod.reason:
        return Outcome(False, pod.reason, pod.message, at)
    failed = _failed(pod.containers)
    return _blame(failed, at) if failed else Outcome(False, "Error", "the pod failed without saying why", at)


def _failed(containers: Iterable[ContainerView]) -> list[ContainerView]:
    failed = [item for item in containers if item.state == "terminated" and item.exit_code]
    return sorted(failed, key=lambda item: (item.name != GATEWAY, item.finished_at or 0.0))


def _blame(failed: Sequence[ContainerView], at: float) -> Outcome:
    """Believe the gateway, which saw the first death; without its word the earliest failure is blamed."""
    first = failed[0]
    record = exit_record(first)
    node = record.get("node") or first.name.removeprefix(NODE_PREFIX)
    reason = record.get("reason") or first.reason or "Error"
    code = record.get("exitCode", first.exit_code)
    text = record.get("message") or first.message or ""
    return Outcome(False, str(reason), f"node '{node}' exited with code {code}: {text}".rstrip(": "), at)


def _ended_at(session: SessionView, now: float) -> float:
    stamp = session.status.get("attemptEndTime")
    return datetime.fromisoformat(stamp).timestamp() if stamp else now


def running_status(
    session: SessionView,
    pod: PodView | None,
    now: float,
    *,
    denial: Denial | None = None,
    outcome: Outcome | None = None,
    report: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the status of a session that has not finished: waiting, starting, running, or between two attempts."""
    phase, reason, message = _phase(pod, denial, outcome)
    status = _base(session, pod)
    status["phase"] = phase
    if report:
        status["nodes"] = _reported(status.get("nodes", []), report)
    if outcome is not None:
        status["attemptEndTime"] = rfc3339(outcome.at)
    if phase == "Running":
        status.setdefault("readyTime", rfc3339(now))
    ready = phase == "Running"
    scheduled = pod is not None and pod.scheduled
    status["conditions"] = conditions(
        session.status.get("conditions", ()),
        now,
        [
            (
                "PodScheduled",
                scheduled,
                "Scheduled" if scheduled else reason or "Waiting",
                "" if scheduled else message,
            ),
            ("NodesReady", ready, "Ready" if ready else reason or "Starting", "" if ready else message),
            ("Ready", ready, "Ready" if ready else reason or "Starting", "" if ready else message),
        ],
    )
    return status


def finished_status(session: SessionView, pod: PodView | None, outcome: Outcome, now: float) -> dict[str, Any]:
    """Return the status of a session whose last attempt is over."""
    status = _base(session, pod) | {
        "phase": "Succeeded" if outcome.succeeded else "Failed",
        "finishTime": rfc3339(outcome.at),
        "attemptEndTime": rfc3339(outcome.at),
    }
    status["conditions"] = conditions(
        session.status.get("conditions", ()),
        now,
        [
            ("Ready", False, outcome.reason, outcome.message),
            ("Completed", True, outcome.reason, outcome.message),
        ],
    )
    return status


def restarted_status(
    session: SessionView, pod: PodView | None, outcome: Outcome, restarts: Sequence[float], now: float
) -> dict[str, Any]:
    """Return the status that begins the next attempt; written before its pod is made."""
    status = _base(session, pod) | {
        "phase": "Pending",
        "attempt": session.attempt + 1,
        "restartTimes": [rfc3339(moment) for moment in restarts[-16:]],
    }
    for key in ("podName", "attemptEndTime", "readyTime", "endpoint"):
        status.pop(key, None)
    text = f"attempt {session.attempt} ended: {outcome.message}"
    status["conditions"] = conditions(
        session.status.get("conditions", ()), now, [("Ready", False, outcome.reason, text)]
    )
    return status


def _phase(pod: PodView | None, denial: Denial | None, outcome: Outcome | None) -> tuple[str, str, str]:
    if outcome is not None:
        return "Pending", outcome.reason, outcome.message
    if pod is None:
        return "Pending", *((denial.reason, denial.message) if denial else ("PodPending", "its pod is being made"))
    if pod.deleting:
        return "Stopping", "PodDeleted", "its pod is being deleted"
    if pod.ready:
        return "Running", "", ""
    fault = next((item for item in pod.containers if item.reason in WAITING_FAULTS), None)
    if fault is not None:
        return "Starting", fault.reason, f"container {fault.name}: {fault.message}"
    if not pod.scheduled:
        return "Pending", pod.reason or "Unscheduled", pod.message
    return "Starting", "Starting", "nodes are starting"


def _base(session: SessionView, pod: PodView | None) -> dict[str, Any]:
    status = {key: value for key, value in session.status.items() if key != "conditions"}
    status["attempt"] = session.attempt
    if pod is not None:
        status["podName"] = pod.name
        status["revision"] = pod.revision
        status["nodes"] = _nodes(pod, status.get("nodes", ()))
        if pod.claimed and pod.name.rpartition("-")[0] != session.name:
            status["claimedFrom"] = pod.name.rpartition("-")[0]
        if pod.ip:
            status["endpoint"] = {"address": pod.ip, "port": INGRESS_PORT}
    return status


def _reported(nodes: list[dict[str, Any]], report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Merge what the gateway says of living nodes: progress, restarts within the session, exits that a pod hides."""
    said = {item["name"].replace("_", "-"): item for item in report.get("nodes", ()) if "name" in item}
    fields = ("state", "progressPercent", "message", "epoch", "restarts", "lastExit")
    merged = []
    for node in nodes:
        news = {key: value for key, value in said.get(node["name"], {}).items() if key in fields and value is not None}
        merged.append({**news, **node} if node["state"] in ("Failed", "Stopped") else {**node, **news})
    return merged


def _nodes(pod: PodView, known: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    earlier = {item["name"]: item for item in known}
    return [_node(item, earlier) for item in pod.containers if item.name.startswith(NODE_PREFIX)]


def _node(container: ContainerView, earlier: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    name = container.name.removeprefix(NODE_PREFIX)
    node = {key: value for key, value in earlier.get(name, {}).items() if key != "state"} | {"name": name}
    if container.state != "terminated":
        return node | {"state": "Running" if container.ready else "Starting"}
    record = exit_record(container)
    node["state"] = "Stopped" if container.exit_code == 0 else "Failed"
    node["lastExit"] = {
        key: value
        for key, value in {
            "exitCode": record.get("exitCode", container.exit_code),
            "signal": record.get("signal"),
            "reason": "OOMKilled" if container.reason == "OOMKilled" else record.get("reason") or container.reason,
            "message": str(record.get("message") or "" if record else container.message)[:1024],
            "finishedAt": rfc3339(container.finished_at) if container.finished_at else None,
        }.items()
        if value not in (None, "")
    }
    return node


def conditions(
    former: Iterable[Mapping[str, Any]],
    now: float,
    wanted: Iterable[tuple[str, bool, str, str]],
    generation: int | None = None,
) -> list[dict[str, Any]]:
    """Merge conditions: a transition time moves only when a status changes; conditions not named stay."""
    found = {item["type"]: dict(item) for item in former}
    for kind, value, reason, message in wanted:
        text = "True" if value else "False"
        old = found.get(kind, {})
        since = old["lastTransitionTime"] if old.get("status") == text else rfc3339(now)
        found[kind] = {
            "type": kind,
            "status": text,
            "reason": reason,
            "message": message[:1024],
            "lastTransitionTime": since,
        }
        if generation is not None:
            found[kind]["observedGeneration"] = generation
    return list(found.values())


def pipeline_status(
    pipeline: PipelineView, sessions: Sequence[SessionView], now: float, shm: Mapping[str, str]
) -> dict[str, Any]:
    """Return a pipeline's whole status from its sessions."""
    former = pipeline.manifest.get("status") or {}
    replicas = [item for item in sessions if item.owner_uid == pipeline.uid]
    ready = sum(1 for item in replicas if item.phase == "Running")
    valid = not pipeline.problems
    wanted = 0 if pipeline.suspend else pipeline.replicas
    degraded = [item for item in replicas if item.phase == "Failed"]
    enough = valid and ready >= wanted
    return {
        "observedGeneration": pipeline.generation,
        "replicas": len(replicas),
        "readyReplicas": ready,
        "updatedReplicas": sum(1 for item in replicas if item.revision == pipeline.revision),
        "claimedSessions": sum(1 for item in sessions if item.is_claim and not item.finished),
        "selector": f"ringline.dev/pipeline={pipeline.name},ringline.dev/claimed=false",
        **({"updateRevision": pipeline.revision} if pipeline.revision else {}),
        **({"shm": dict(shm)} if shm else {}),
        "conditions": conditions(
            former.get("conditions", ()),
            now,
            [
                (
                    "Accepted",
                    valid,
                    "Valid" if valid else "Invalid",
                    "; ".join(pipeline.problems) or "the pipeline is valid",
                ),
                ("Ready", enough, "Ready" if enough else "Waiting", f"{ready} of {wanted} sessions are ready"),
                ("Degraded", bool(degraded), "SessionsFailed" if degraded else "Healthy", _failures(degraded)),
            ],
            pipeline.generation,
        ),
    }


def _failures(sessions: Sequence[SessionView]) -> str:
    names = ", ".join(item.name for item in sessions[:3])
    return f"failed: {names}" + (" …" if len(sessions) > 3 else "") if sessions else ""
