"""The network policy of a pipeline's pods: nothing in or out but what its sessions are for."""

from __future__ import annotations

from typing import Any

from ringline_operator.specs.containers import GATEWAY_PORT, INGRESS_PORT
from ringline_operator.specs.labels import owner
from ringline_operator.template import Template
from ringline_operator.views import LABEL_PIPELINE, PipelineView

NAMESPACE_NAME = "kubernetes.io/metadata.name"


def network_policy(pipeline: PipelineView, template: Template, monitoring: str) -> dict[str, Any]:
    """Deny both ways; allow DNS, metrics and status from the operator and monitoring, and the ingress if it is on."""
    name = f"ringline-{pipeline.name}"
    ingress: list[dict[str, Any]] = [
        {
            "from": [
                {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: monitoring}}},
                {
                    "namespaceSelector": {},
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "ringline-operator"}},
                },
            ],
            "ports": [_port(GATEWAY_PORT)],
        }
    ]
    if template.resource is not None and template.resource.spec.ingress.enabled:
        ingress.append({"ports": [_port(INGRESS_PORT)]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": name,
            "namespace": pipeline.namespace,
            "labels": {LABEL_PIPELINE: pipeline.name, "app.kubernetes.io/managed-by": "ringline"},
            "ownerReferences": [owner("MediaPipeline", pipeline.name, pipeline.uid)],
        },
        "spec": {
            "podSelector": {"matchLabels": {LABEL_PIPELINE: pipeline.name}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": [{"ports": [_port(53, "UDP"), _port(53)]}],
        },
    }


def _port(number: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"port": number, "protocol": protocol}
