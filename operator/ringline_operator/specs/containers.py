"""The containers of a session's pod: the gateway, which owns the session, and one for each node."""

from __future__ import annotations

from typing import Any

from ringline.graph.handover import session_document
from ringline.graph.model import NodeSpec, PipelineSpec
from ringline.graph.nodeconfig import NodePlan
from ringline.graph.session_plan import SessionPlan
from ringline.names import ENV_LOG_FORMAT, ENV_NODE, ENV_SESSION, ENV_SESSION_DIR, ENV_SESSION_ID
from ringline.quantities import round_quantity
from ringline_operator.specs.probes import gateway_probes, node_probes

SESSION_DIRECTORY = "/dev/shm/ringline"  # noqa: S108  (the pod's own memory volume)
PLAN_FOLDER = "/etc/ringline"
CODE_FOLDER = "/opt/ringline/nodes"
GATEWAY_PORT, INGRESS_PORT, FIRST_PROBE_PORT = 9090, 9443, 9101
GATEWAY_OWN_BYTES = 128 << 20
"""Memory of the gateway beside the arena, whose pages are charged to it because it touches them first."""
NODE_DEFAULT_BYTES = 512 << 20
"""A node's limit when the manifest gives none: every container has one, so that one node can't starve a machine."""
CONFINED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def gateway(plan: SessionPlan, spec: PipelineSpec, image: str) -> dict[str, Any]:
    """Return the native sidecar: it starts before the nodes and ends after them."""
    memory = round_quantity(plan.layout.size_bytes + GATEWAY_OWN_BYTES)
    ports = [{"name": "metrics", "containerPort": GATEWAY_PORT}]
    env = [*_environment("gateway"), {"name": ENV_SESSION, "value": session_document(plan)}]
    if spec.ingress.enabled:
        ports.append({"name": "ingress", "containerPort": INGRESS_PORT})
        env.append(_ingress_token(spec))
    return {
        "name": "gateway",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["gateway"],
        "restartPolicy": "Always",
        "env": env,
        "ports": ports,
        "resources": {"limits": {"memory": memory}, "requests": {"memory": memory, "cpu": "10m"}},
        "securityContext": CONFINED,
        "lifecycle": {"preStop": {"exec": {"command": ["python", "-m", "ringline.host", "drain"]}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(),
        **gateway_probes(GATEWAY_PORT),
    }


def node(index: int, plan: NodePlan, session: SessionPlan, spec: PipelineSpec, image: str) -> dict[str, Any]:
    """Return one node's container. `index` counts the nodes from 0 and gives the probes' port."""
    declared = next(item for item in spec.nodes if item.name == plan.name)
    port = FIRST_PROBE_PORT + index
    mounts = [item.model_dump(mode="json", by_alias=True, exclude_unset=True) for item in declared.volume_mounts]
    if spec.pod.code_config_map_ref is not None:
        mounts.append({"name": "code", "mountPath": CODE_FOLDER, "readOnly": True})
    return {
        "name": f"node-{plan.name.replace('_', '-')}",
        "image": declared.image or image,
        "imagePullPolicy": declared.image_pull_policy or "IfNotPresent",
        "args": ["node"],
        "env": [
            *_environment(plan.name),
            {"name": "RINGLINE_PROBE_PORT", "value": str(port)},
            *_own_environment(declared),
        ],
        "resources": _resources(declared),
        "securityContext": CONFINED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*_mounts(), *mounts],
        **node_probes(port, session.runtime),
    }


def _environment(name: str) -> list[dict[str, Any]]:
    return [
        {"name": ENV_SESSION_ID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": ENV_SESSION_DIR, "value": SESSION_DIRECTORY},
        {"name": ENV_NODE, "value": name},
        {"name": ENV_LOG_FORMAT, "value": "json"},
        {"name": "HOME", "value": "/tmp"},  # noqa: S108  (the container's own scratch volume)
    ]


def _own_environment(declared: NodeSpec) -> list[dict[str, Any]]:
    return [item.model_dump(mode="json", by_alias=True, exclude_none=True) for item in declared.env]


def _ingress_token(spec: PipelineSpec) -> dict[str, Any]:
    reference = spec.ingress.token_secret_ref
    key = reference.model_dump(mode="json", by_alias=True, exclude_unset=True) if reference else {}
    return {"name": "RINGLINE_INGRESS_TOKEN", "valueFrom": {"secretKeyRef": key}}


def _resources(declared: NodeSpec) -> dict[str, Any]:
    limits = {"memory": round_quantity(NODE_DEFAULT_BYTES)} | declared.resources.limits
    least = {"cpu": "10m"} | {name: limits[name] for name in declared.resources.limits if name == "memory"}
    return {"limits": limits, "requests": {"memory": "32Mi"} | least | declared.resources.requests}


def _mounts() -> list[dict[str, Any]]:
    return [
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108  (the pod's own memory volume)
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  (the pod's own scratch volume)
        {"name": "ringline", "mountPath": PLAN_FOLDER, "readOnly": True},
    ]
