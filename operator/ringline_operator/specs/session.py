"""The `MediaSession` of a replica."""

from __future__ import annotations

from typing import Any

from ringline.names import API_VERSION
from ringline_operator.specs.labels import owner, session_labels
from ringline_operator.views import PipelineView


def replica_session(pipeline: PipelineView, name: str) -> dict[str, Any]:
    """Build the session that keeps one place of a pipeline's pool."""
    return {
        "apiVersion": API_VERSION,
        "kind": "MediaSession",
        "metadata": {
            "name": name,
            "namespace": pipeline.namespace,
            "labels": session_labels(pipeline.name, claimed=False),
            "ownerReferences": [owner("MediaPipeline", pipeline.name, pipeline.uid)],
        },
        "spec": {"pipelineRef": {"name": pipeline.name}},
    }
