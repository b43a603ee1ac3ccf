"""Statuses: what a session's and a pipeline's resource says of itself. Pure; times are arguments.

The builders return the whole status, so that writing it twice is the same as writing it once. Whether an attempt is over
is said in `outcome`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ringline_operator.outcome import GATEWAY, Outcome, exit_record, failing
from ringline_operator.views import ContainerView, PipelineView, PodView, SessionView

INGRESS_PORT = 9443
PASSING = ("state", "progressPercent", "message")
"""What a gateway says of a node that holds only for the moment."""
SLOW_START_SECONDS = 5.0
"""A pod whose containers are not there after this long says for what they wait: the kubelet tells of an image that can't be
pulled only when its registry, or the search for it, has answered."""
WAITING_FAULTS = frozenset({
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
    "CreateContainerError", "RunContainerError", "CrashLoopBackOff",
})  # fmt: skip


def rfc3339(moment: float) -> str:
    """Write a time as Kubernetes does, whole seconds in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def running_status(
    session: SessionView,
    pod: PodView | None,
    now: float,
    *,
    waiting: tuple[str, str] | None = None,
    outcome: Outcome | None = None,
    report: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the status of a session that has not finished: waiting, starting, running, or between two attempts.

    `waiting` is why it has no pod yet: reason and sentence.
    """
    if outcome is not None:
        waiting = (outcome.reason, outcome.message)
    status = _base(session, pod)
    if report:
        status["nodes"] = _reported(status.get("nodes", []), report, ready=pod is not None and pod.ready)
    if outcome is not None:
        status["attemptEndTime"] = rfc3339(outcome.at)
        pod = None
    ready = pod is not None and pod.ready and not pod.deleting
    if ready:
        status.setdefault("readyTime", rfc3339(now))
    worked = "readyTime" in status
    phase, reason, message = _phase(pod, waiting, now, worked=worked)
    status["phase"] = phase
    scheduled = pod is not None and pod.scheduled
    wanted = [
        ("PodScheduled", scheduled, "Scheduled" if scheduled else reason, "" if scheduled else message),
        ("NodesReady", ready, "Ready" if ready else reason, "" if ready else message),
        ("Ready", ready, "Ready" if ready else reason, "" if ready else message),
    ]
    dying = pod is not None and failing(pod) is not None
    troubled = (worked or dying) and not ready and pod is not None and not pod.deleting
    wanted.append(("Degraded", troubled, reason if troubled else "Healthy", message if troubled else ""))
    status["conditions"] = conditions(session.status.get("conditions", ()), now, wanted, session.generation)
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
            ("NodesReady", False, outcome.reason, outcome.message),
            ("Ready", False, outcome.reason, outcome.message),
            ("Degraded", not outcome.succeeded, outcome.reason, outcome.message),
            ("Completed", True, outcome.reason, outcome.message),
        ],
        session.generation,
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
    for key in ("podName", "attemptEndTime", "readyTime", "endpoint", "claimedFrom"):
        status.pop(key, None)
    text = f"attempt {session.attempt} ended: {outcome.message}"
    wanted = [(kind, False, outcome.reason, text) for kind in ("PodScheduled", "NodesReady", "Ready")]
    wanted.append(("Degraded", True, "Restarting", text))
    status["conditions"] = conditions(session.status.get("conditions", ()), now, wanted, session.generation)
    return status


def _phase(pod: PodView | None, waiting: tuple[str, str] | None, now: float, *, worked: bool) -> tuple[str, str, str]:
    """Return phase, reason and sentence. `worked`: the session was ready before in this attempt."""
    if pod is None:
        return "Pending", *(waiting or ("PodPending", "its pod is being made"))
    if pod.deleting:
        return "Stopping", pod.disruption or "PodDeleted", pod.message or "its pod is being deleted"
    if pod.ready:
        return "Running", "", ""
    end = failing(pod)
    if end is not None:
        return "Stopping", end.reason, end.message
    fault = next((item for item in pod.containers if item.reason in WAITING_FAULTS), None)
    if fault is not None:
        return "Starting", fault.reason, f"container {fault.name}: {fault.message}"
    if worked:
        return "Running", *_trouble(pod)
    if not pod.scheduled:
        return "Pending", pod.reason or "Unscheduled", pod.message
    return "Starting", "Starting", _awaited(pod, now) or "nodes are starting"


def _awaited(pod: PodView, now: float) -> str:
    """Name the container that a pod waits for after some time, and what it may be that it lacks."""
    waiting = [item for item in pod.containers if item.state == "waiting"]
    if not waiting or now < pod.created + SLOW_START_SECONDS:
        return ""
    absent = min(waiting, key=lambda item: item.place)
    return f"container {absent.name} is not there yet: its image {absent.image} is being pulled, or a volume is awaited"


def _trouble(pod: PodView) -> tuple[str, str]:
    """Say what keeps a session that was ready from being it."""
    gateway = next((item for item in pod.containers if item.name == GATEWAY), None)
    if gateway is not None and gateway.state != "running":
        return "GatewayRestarting", "the gateway has ended and is started again; nodes go on"
    silent = [item.node for item in pod.containers if item.node and not item.ready]
    if silent:
        names = ", ".join(f"'{name}'" for name in silent)
        return "NodeUnhealthy", f"node {names} does not answer, or starts again"
    if gateway is not None and not gateway.ready:
        return "NodeUnhealthy", "the gateway reports a node that has ended or does not answer"
    return "PodNotReady", pod.message or "the pod is not ready: its host machine may be lost"


def _base(session: SessionView, pod: PodView | None) -> dict[str, Any]:
    status = {key: value for key, value in session.status.items() if key != "conditions"}
    status["attempt"] = session.attempt
    if session.generation is not None:
        status["observedGeneration"] = session.generation
    if pod is not None:
        status.setdefault("startTime", rfc3339(pod.created))
        status["podName"] = pod.name
        status["revision"] = pod.revision
        status["nodes"] = _nodes(pod, status.get("nodes", ()))
        if pod.claimed and pod.name.rpartition("-")[0] != session.name:
            status["claimedFrom"] = pod.name.rpartition("-")[0]
        if pod.ip:
            status["endpoint"] = {"address": pod.ip, "port": INGRESS_PORT}
    return status


def _reported(nodes: list[dict[str, Any]], report: Mapping[str, Any], *, ready: bool) -> list[dict[str, Any]]:
    """Merge what the gateway says of living nodes: progress, restarts within the session, exits that a pod hides.

    Of a session that is ready the last word may be old, because nobody asks it any more: what passes is left out.
    """
    said = {item["name"]: item for item in report.get("nodes", ()) if "name" in item}
    fields = ("epoch", "restarts", "lastExit") if ready else (*PASSING, "epoch", "restarts", "lastExit")
    merged = []
    for node in nodes:
        news = {key: value for key, value in said.get(node["name"], {}).items() if key in fields and value is not None}
        merged.append({**news, **node} if node["state"] in ("Failed", "Stopped") else {**node, **news})
    return merged


def _nodes(pod: PodView, known: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    earlier = {item["name"]: item for item in known}
    return [_node(item, earlier.get(item.node, {}), ready=pod.ready) for item in pod.containers if item.node]


def _node(container: ContainerView, earlier: Mapping[str, Any], *, ready: bool) -> dict[str, Any]:
    dropped = ("state", *PASSING) if ready else ("state",)
    node = {key: value for key, value in earlier.items() if key not in dropped} | {"name": container.node}
    if container.state != "terminated":
        return node | {"state": "Running" if container.ready else "Starting"}
    record = exit_record(container)
    node["state"] = "Stopped" if container.exit_code == 0 else "Failed"
    last = {
        "exitCode": record.get("exitCode", container.exit_code),
        "signal": record.get("signal"),
        "reason": "OOMKilled" if container.reason == "OOMKilled" else record.get("reason") or container.reason,
        "message": str(record.get("message") or "" if record else container.message)[:1024],
        "finishedAt": rfc3339(container.finished_at) if container.finished_at else None,
    }
    node["lastExit"] = {key: value for key, value in last.items() if value not in (None, "")}
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
    ready = sum(1 for item in replicas if item.ready)
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
                ("ShmBudget", not pipeline.over_budget, *_budget(pipeline, shm)),
                ("Ready", enough, "Ready" if enough else "Waiting", f"{ready} of {wanted} sessions are ready"),
                ("Degraded", bool(degraded), "SessionsFailed" if degraded else "Healthy", _failures(degraded)),
            ],
            pipeline.generation,
        ),
    }


def _budget(pipeline: PipelineView, shm: Mapping[str, str]) -> tuple[str, str]:
    if pipeline.over_budget:
        return "TooSmall", "; ".join(pipeline.problems)
    if not shm:
        return "Unknown", "the pipeline was not accepted, so that no plan was made"
    return "Fits", f"a session needs {shm['needed']} of {shm['size']}"


def _failures(sessions: Sequence[SessionView]) -> str:
    names = ", ".join(item.name for item in sessions[:3])
    return f"failed: {names}" + (" …" if len(sessions) > 3 else "") if sessions else ""
