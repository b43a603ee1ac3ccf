"""What the gateway of a pod is told beside the NodeConfig document, which nodes get too: names of the ends, policies.

The operator writes it into the gateway's environment, the gateway makes its `SessionPlan` of both. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ringline.errors import SettingsError
from ringline.graph.nodeconfig import NodeConfig
from ringline.graph.session_plan import SessionPlan, SessionPolicy
from ringline.names import HOST
from ringline.settings import RuntimeConfig


def session_document(plan: SessionPlan) -> str:
    """Give the plan's part that is not in the NodeConfig document, as canonical JSON."""
    document = {
        "pipeline": plan.pipeline,
        "session": asdict(plan.session),
        "inputs": dict(plan.inputs),
        "outputs": dict(plan.outputs),
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def session_plan(node_config: bytes, document: str) -> SessionPlan:
    """Join both documents to the plan that they came from. Raises `SettingsError` for damaged ones.

    Without a session document the policies are the defaults and every end is named by its node.
    """
    config = NodeConfig.from_bytes(node_config)
    try:
        told = json.loads(document or "{}")
        return SessionPlan(
            pipeline=str(told.get("pipeline", "")),
            nodes=tuple(config.nodes.values()),
            channels=tuple(config.channels.values()),
            layout=config.layout,
            runtime=RuntimeConfig(**asdict(config.runtime)),
            session=SessionPolicy(**told.get("session", {})),
            inputs=told.get("inputs") or _ends(config, inputs=True),
            outputs=told.get("outputs") or _ends(config, inputs=False),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingsError(f"the session document is damaged ({type(error).__name__}: {error})") from None


def _ends(config: NodeConfig, *, inputs: bool) -> dict[str, str]:
    ends: dict[str, str] = {}
    for channel in config.channels.values():
        host, node, port = (
            (channel.producer, channel.consumer, channel.consumer_port)
            if inputs
            else (channel.consumer, channel.producer, channel.producer_port)
        )
        if host == HOST:
            ends[f"{node}.{port}" if node in ends else node] = channel.name
    return ends


def parameters_digest(values: Mapping[str, Any]) -> str:
    """Give 16 hexadecimal digits that tell which parameters a gateway has delivered."""
    text = json.dumps(dict(values), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
