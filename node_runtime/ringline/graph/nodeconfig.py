"""What every node of a session is told: one canonical JSON document, the same bytes on this machine and in a pod.

The plan writes it, the node runner reads it (locally from the session directory, in a pod from an annotation). It holds
no session id, path of the session, address or token: those come by environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ringline.errors import SettingsError
from ringline.graph.layout import ArenaLayout, ChannelPlan, HeapPlan

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node as its launcher starts it and its runner runs it.

    `inputs` maps an input port to its channel (one writer each), `outputs` an output port to its channels, in the order
    of the manifest. `feedback` lists the input ports that close a declared cycle. `env` holds literal values;
    `secret_env` names the variables whose values come by reference (locally: the application's own variable).
    """

    name: str
    type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    executor: str = "process"
    executable: str = "python"
    venv_path: str | None = None
    extra_paths: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: tuple[str, ...] = ()
    memory_limit_bytes: int | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    feedback: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeRuntime:
    """The session's settings as plain values; the fields of `settings.RuntimeConfig`, where their reasons stand.

    A node reads what its host has checked: loading the models that check would be a third of an executed node's start.
    """

    max_processes_per_session: int | None
    channel_capacity: int
    init_timeout_secs: float
    python_executable: str
    venv_path: str | None
    extra_paths: tuple[str, ...]
    enable_backpressure: bool
    cleanup_grace_period_secs: float
    shm_segment_size: int
    max_message_size: int
    stall_timeout_secs: float | None
    health_check_interval: float
    health_check_timeout: float
    max_health_failures: int


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The document: all nodes by name, all channels by name, the arena's layout, the settings."""

    nodes: Mapping[str, NodePlan]
    channels: Mapping[str, ChannelPlan]
    layout: ArenaLayout
    runtime: NodeRuntime

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, ASCII. Equal plans give equal bytes."""
        layout = asdict(self.layout)
        document = {
            "version": VERSION,
            "nodes": [asdict(node) for node in self.nodes.values()],
            "channels": layout.pop("channels"),
            "layout": layout,
            "runtime": asdict(self.runtime),
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, document: bytes) -> NodeConfig:
        """Read the document again. Raises `SettingsError` if it is damaged or of another version."""
        try:
            tree = json.loads(document)
            version = tree["version"]
            if version != VERSION:
                raise SettingsError(
                    f"NodeConfig has version {version}, this Ringline reads {VERSION}; host and node images must match"
                )
            return cls._from_tree(tree)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, SettingsError):
                raise
            raise SettingsError(
                f"NodeConfig is damaged ({type(error).__name__}: {error}); start the session anew"
            ) from None

    @classmethod
    def _from_tree(cls, tree: dict[str, Any]) -> NodeConfig:
        channels = tuple(ChannelPlan(**channel) for channel in tree["channels"])
        layout = tree["layout"] | {
            "channels": channels,
            "nodes": tuple(HeapPlan(**heap) for heap in tree["layout"]["nodes"]),
        }
        return cls(
            {node["name"]: _node(node) for node in tree["nodes"]},
            {channel.name: channel for channel in channels},
            ArenaLayout(**layout),
            NodeRuntime(**(tree["runtime"] | {"extra_paths": tuple(tree["runtime"]["extra_paths"])})),
        )


def _node(fields: dict[str, Any]) -> NodePlan:
    outputs = {port: tuple(channels) for port, channels in fields["outputs"].items()}
    lists = {name: tuple(fields[name]) for name in ("extra_paths", "secret_env", "feedback")}
    return NodePlan(**(fields | lists | {"outputs": outputs}))
