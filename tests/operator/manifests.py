"""Pipelines for the operator's tests, as an API server would hand them over."""

from __future__ import annotations

from typing import Any

from ringline_operator.template import Template, read_template

NODES = [
    {"name": "vad", "type": "energy_vad"},
    {"name": "loud_meter", "type": "level_meter"},
]
CHANNELS = [{"from": "vad.speech", "to": "loud_meter.audio"}]


def body(name: str = "voice", **spec: Any) -> dict[str, Any]:
    """One `MediaPipeline` object; keywords replace parts of its spec."""
    return {
        "apiVersion": "ringline.dev/v1alpha1",
        "kind": "MediaPipeline",
        "metadata": {
            "name": name,
            "namespace": "studio",
            "uid": f"uid-{name}",
            "generation": 3,
            "resourceVersion": "10",
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {"nodes": NODES, "channels": CHANNELS, **spec},
    }


def template(name: str = "voice", **spec: Any) -> Template:
    """The checked and planned pipeline."""
    found = read_template(body(name, **spec), None)
    assert not found.problems, found.problems
    return found
