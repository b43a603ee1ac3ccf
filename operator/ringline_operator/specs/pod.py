"""The session pod: gateway and nodes around one memory volume, confined as Pod Security `restricted` asks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ringline.graph.model import MediaPipeline, PipelineSpec
from ringline.graph.session_plan import SessionPlan
from ringline.quantities import round_quantity
from ringline_operator.specs import containers
from ringline_operator.specs.labels import owner, pod_labels
from ringline_operator.views import ANNOTATION_ATTEMPT

ANNOTATION_PLAN = "ringline.dev/plan"
ANNOTATION_PARAMETERS = "ringline.dev/parameters"
USER = 10001
TEMPORARY_BYTES = 64 << 20
KEEP = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
"""What keeps autoscalers from moving a pod that holds somebody's call."""


@dataclass(frozen=True, slots=True)
class PodIdentity:
    """Whose pod it is: session, attempt, and what a claim brings with it."""

    session: str
    session_uid: str
    attempt: int
    claimed: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What the installation decides: images, and whether user ids are fixed (OpenShift assigns its own)."""

    image: str
    fixed_user: bool = True


def revision(spec: PipelineSpec) -> str:
    """Return six hexadecimal digits that change when new pods of the pipeline would differ."""
    body = spec.model_dump(mode="json", by_alias=True, exclude={"replicas", "suspend", "update_strategy", "session"})
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:6]


@dataclass(frozen=True, slots=True)
class PodMould:
    """What all pods of one template share, worked out once: pods are made a thousand at a time."""

    pipeline: str
    namespace: str | None
    revision: str
    plan: str
    spec: Mapping[str, Any]

    def pod(self, who: PodIdentity) -> dict[str, Any]:
        """Build the pod of one attempt of a session; its spec is shared and must not be changed."""
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{who.session}-{who.attempt}",
                "namespace": self.namespace,
                "labels": pod_labels(self.pipeline, who.session, self.revision, claimed=who.claimed),
                "annotations": {
                    ANNOTATION_PLAN: self.plan,
                    ANNOTATION_PARAMETERS: json.dumps(dict(who.parameters), sort_keys=True),
                    ANNOTATION_ATTEMPT: str(who.attempt),
                    **(KEEP if who.claimed else {}),
                },
                "ownerReferences": [owner("MediaSession", who.session, who.session_uid)],
            },
            "spec": self.spec,
        }


def pod_mould(pipeline: MediaPipeline, plan: SessionPlan, settings: PodSettings) -> PodMould:
    """Work out what the pods of a pipeline share."""
    meta, spec = pipeline.metadata, pipeline.spec
    text = plan.node_config().decode()
    return PodMould(meta.name, meta.namespace, revision(spec), text, _pod_spec(spec, plan, settings))


def session_pod(pipeline: MediaPipeline, plan: SessionPlan, who: PodIdentity, settings: PodSettings) -> dict[str, Any]:
    """Build one pod of a pipeline."""
    return pod_mould(pipeline, plan, settings).pod(who)


def _pod_spec(spec: PipelineSpec, plan: SessionPlan, settings: PodSettings) -> dict[str, Any]:
    deadline = spec.session.active_deadline_seconds
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": round(plan.runtime.cleanup_grace_period_secs) + 5,
        "securityContext": _security(settings),
        "initContainers": [containers.gateway(plan, spec, settings.image)],
        "containers": [
            containers.node(index, node, plan, spec, settings.image) for index, node in enumerate(plan.nodes)
        ],
        "volumes": _volumes(spec, plan),
        **({"activeDeadlineSeconds": deadline} if deadline else {}),
        **_scheduling(spec),
    }


def _security(settings: PodSettings) -> dict[str, Any]:
    user = {"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER} if settings.fixed_user else {}
    return {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, **user}


def _volumes(spec: PipelineSpec, plan: SessionPlan) -> list[dict[str, Any]]:
    shm = round_quantity(plan.layout.size_bytes + (4 << 20))
    files = [("plan.json", ANNOTATION_PLAN), ("parameters.json", ANNOTATION_PARAMETERS)]
    items = [{"path": path, "fieldRef": {"fieldPath": f"metadata.annotations['{note}']"}} for path, note in files]
    volumes: list[dict[str, Any]] = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shm}},
        {"name": "tmp", "emptyDir": {"sizeLimit": round_quantity(TEMPORARY_BYTES)}},
        {"name": "ringline", "downwardAPI": {"items": items}},
    ]
    if spec.pod.code_config_map_ref is not None:
        volumes.append({"name": "code", "configMap": {"name": spec.pod.code_config_map_ref.name}})
    own = [item.model_dump(mode="json", by_alias=True, exclude_unset=True) for item in spec.pod.volumes]
    return volumes + own


def _scheduling(spec: PipelineSpec) -> dict[str, Any]:
    names = (
        "node_selector", "tolerations", "affinity", "topology_spread_constraints", "priority_class_name",
        "runtime_class_name", "scheduler_name", "image_pull_secrets",
    )  # fmt: skip
    values = spec.pod.model_dump(mode="json", by_alias=True, include=set(names), exclude_none=True)
    return {name: value for name, value in values.items() if value}
