"""The kinds of the Prometheus operator, as far as the chart uses them: a cluster without it can check the chart's objects too.

The fields and their types are those of its API monitoring.coreos.com/v1; what the chart does not set is left out, so that an
unknown field is refused.
"""

from __future__ import annotations

from typing import Any

TEXT: dict[str, Any] = {"type": "string"}
TRUTH: dict[str, Any] = {"type": "boolean"}
TEXTS: dict[str, Any] = {"type": "array", "items": TEXT}
LABELS: dict[str, Any] = {"type": "object", "additionalProperties": TEXT}
DURATION: dict[str, Any] = {
    "type": "string",
    "pattern": r"^(0|(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$",
}


def thing(*required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    """An object's schema."""
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def many(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


SELECTOR = thing(matchLabels=LABELS)
NAMESPACES = thing(any=TRUTH, matchNames=TEXTS)
RELABELING = thing(sourceLabels=TEXTS, targetLabel=TEXT, regex=TEXT, replacement=TEXT, action=TEXT)
ENDPOINT = thing(port=TEXT, interval=DURATION, honorLabels=TRUTH, path=TEXT, relabelings=many(RELABELING))
RULE = thing("expr", alert=TEXT, record=TEXT, expr=TEXT, labels=LABELS, annotations=LABELS, **{"for": DURATION})
GROUP = thing("name", name=TEXT, interval=DURATION, rules=many(RULE))
KINDS = {
    "ServiceMonitor": thing(
        "endpoints", "selector", endpoints=many(ENDPOINT), selector=SELECTOR, namespaceSelector=NAMESPACES
    ),
    "PodMonitor": thing(
        "selector", podMetricsEndpoints=many(ENDPOINT), selector=SELECTOR, namespaceSelector=NAMESPACES
    ),
    "PrometheusRule": thing(groups=many(GROUP)),
}


def definition(kind: str) -> dict[str, Any]:
    """The resource definition of one kind."""
    plural = f"{kind.lower()}s"
    group = "monitoring.coreos.com"
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": thing("spec", spec=KINDS[kind])},
    }
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }
