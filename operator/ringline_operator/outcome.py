"""Whether an attempt of a session is over, and why. Pure; times are arguments."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ringline_operator.views import ContainerView, PodView, SessionView

GATEWAY: Final = "gateway"
BACKSTOP_SECONDS: Final = 30.0
"""A gateway ends its pod's other nodes after a crash, and itself after them; what has not by then is given up."""
GONE_SECONDS: Final = 10.0
"""A pod that stands there this long after its grace period lies on a host machine that does not answer."""
GATEWAY_RESTARTS: Final = 3
"""A gateway that ends more often than this in one pod does not come to rest."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt; `at` in seconds since the epoch."""

    succeeded: bool
    reason: str
    message: str
    at: float


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
    if pod.over or _all_ended(pod):
        return _pod_outcome(session, pod, now)
    if pod.gone_by is not None and now >= pod.gone_by + GONE_SECONDS:
        text = f"pod {pod.name} does not end: its host machine does not answer"
        return Outcome(False, "PodLost", text, _ended_at(session, now))
    gateway = next((item for item in pod.containers if item.name == GATEWAY), None)
    if gateway is not None and gateway.restarts > GATEWAY_RESTARTS:
        text = f"the gateway was started again {gateway.restarts} times"
        return Outcome(False, "GatewayRestarts", text, _ended_at(session, now))
    since = _backstop_since(pod)
    if since is None or now < since + BACKSTOP_SECONDS:
        return None
    failed = _failed(pod.containers)
    return _blame(failed, since) if failed else Outcome(True, "Completed", "all nodes have ended", since)


def failing(pod: PodView) -> Outcome | None:
    """Say what is known of the end to which a pod is coming: a node of it has failed and does not come back."""
    failed = [item for item in _failed(pod.containers) if item.node]
    return _blame(_failed(pod.containers), failed[0].finished_at or pod.created) if failed else None


def ends_by(pod: PodView) -> float | None:
    """Return until when a pod whose nodes have all ended is left to end by itself; None for one that has living nodes."""
    nodes = [item for item in pod.containers if item.node]
    if not nodes or any(item.state != "terminated" for item in nodes):
        return None
    return max(item.finished_at or pod.created for item in nodes) + BACKSTOP_SECONDS


def _all_ended(pod: PodView) -> bool:
    """Say whether nothing can change how it ended, some seconds before Kubernetes calls it ended.

    The kubelet says so two seconds after the last container's end, and the gateway is the last. Its word is waited for only
    if several nodes have failed: which was first it knows best.
    """
    if ends_by(pod) is None:
        return False
    if sum(1 for item in pod.containers if item.node and item.exit_code) == 1:
        return True
    gateway = next((item for item in pod.containers if item.name == GATEWAY), None)
    return gateway is not None and gateway.state == "terminated"


def given_up_at(pod: PodView) -> float | None:
    """Return when a pod that still stands will be called ended, or None for one in which nothing has ended."""
    backstop = _backstop_since(pod)
    limits = [
        *((pod.gone_by + GONE_SECONDS,) if pod.gone_by is not None else ()),
        *((backstop + BACKSTOP_SECONDS,) if backstop is not None else ()),
    ]
    return min(limits, default=None)


def _backstop_since(pod: PodView) -> float | None:
    """Return since when the pod should be ending: its first failure, or the end of its last node."""
    failed = [item.finished_at for item in _failed(pod.containers) if item.finished_at]
    nodes = [item for item in pod.containers if item.node]
    if failed:
        return min(failed)
    if nodes and all(item.state == "terminated" for item in nodes):
        return max(item.finished_at or 0.0 for item in nodes) or None
    return None


def _pod_outcome(session: SessionView, pod: PodView, now: float) -> Outcome:
    ends = [item.finished_at for item in pod.containers if item.finished_at]
    at = max(ends) if ends else _ended_at(session, now)
    if pod.deleting or pod.disruption:
        return _taken_away(pod, at)
    succeeded = not any(item.exit_code for item in pod.containers if item.node)
    if pod.phase == "Succeeded" or (not pod.over and succeeded):
        return Outcome(True, "Completed", "all nodes have ended", at)
    if pod.reason:
        return Outcome(False, pod.reason, pod.message, at)
    failed = _failed(pod.containers)
    return _blame(failed, at) if failed else Outcome(False, "Error", "the pod failed without saying why", at)


def _taken_away(pod: PodView, at: float) -> Outcome:
    """Blame the deletion: a pod that was taken away has not done its work, however politely its nodes ended."""
    reason = pod.disruption or pod.reason or "PodDeleted"
    return Outcome(False, reason, pod.message or f"pod {pod.name} was deleted", at)


def _failed(containers: Iterable[ContainerView]) -> list[ContainerView]:
    failed = [item for item in containers if item.state == "terminated" and item.exit_code]
    return sorted(failed, key=lambda item: (item.name != GATEWAY, item.finished_at or 0.0))


def _blame(failed: Sequence[ContainerView], at: float) -> Outcome:
    """Believe the gateway, which saw the first death; without its word the earliest failure is blamed."""
    first = failed[0]
    record = exit_record(first)
    node = record.get("node") or first.node or first.name
    reason = record.get("reason") or first.reason or "Error"
    code = record.get("exitCode", first.exit_code)
    text = record.get("message") or first.message or ""
    return Outcome(False, str(reason), f"node '{node}' exited with code {code}: {text}".rstrip(": "), at)


def _ended_at(session: SessionView, now: float) -> float:
    stamp = session.status.get("attemptEndTime")
    return datetime.fromisoformat(stamp).timestamp() if stamp else now
