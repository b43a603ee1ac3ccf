"""Kubernetes Events: one object for each thing, reason and text, so that repetitions do not pile up."""

from __future__ import annotations

import hashlib
from typing import Any

from ringline.names import API_VERSION
from ringline_operator.actions import EmitEvent
from ringline_operator.status import rfc3339

LONGEST = 1024


def event(namespace: str, what: EmitEvent, now: float) -> dict[str, Any]:
    """Build the Event; equal things said twice give the same name."""
    text = what.message[:LONGEST]
    digest = hashlib.sha256(f"{what.uid}/{what.reason}/{text}".encode()).hexdigest()[:12]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{what.name}.{digest}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": what.kind,
            "name": what.name,
            "namespace": namespace,
            "uid": what.uid,
        },
        "type": what.type,
        "reason": what.reason,
        "message": text,
        "firstTimestamp": rfc3339(now),
        "lastTimestamp": rfc3339(now),
        "count": 1,
        "source": {"component": "ringline-operator"},
    }
