"""Labels and owner references that all objects of a session carry."""

from __future__ import annotations

from typing import Any

from ringline.names import API_VERSION
from ringline_operator.views import LABEL_CLAIMED, LABEL_PIPELINE, LABEL_REVISION, LABEL_SESSION


def session_labels(pipeline: str, *, claimed: bool) -> dict[str, str]:
    """Return what selects the sessions of a pipeline."""
    return {LABEL_PIPELINE: pipeline, LABEL_CLAIMED: "true" if claimed else "false"}


def pod_labels(pipeline: str, session: str, revision: str, *, claimed: bool) -> dict[str, str]:
    """Return what selects the pods of a pipeline, of a session, of a template."""
    return {
        "app.kubernetes.io/name": "ringline-session",
        "app.kubernetes.io/managed-by": "ringline",
        **session_labels(pipeline, claimed=claimed),
        LABEL_SESSION: session,
        LABEL_REVISION: revision,
    }


def owner(kind: str, name: str, uid: str) -> dict[str, Any]:
    """Return the controlling owner's reference: the garbage collector does the deleting, no finalizer is needed."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
