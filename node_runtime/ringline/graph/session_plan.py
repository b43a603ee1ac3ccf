"""`SessionPlan`: everything that a launcher needs to start a session, as one frozen value.

`assemble` builds it, the supervisor (on this machine) and the operator's pod builder read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ringline.errors import SessionError
from ringline.graph.layout import ArenaLayout, ChannelPlan
from ringline.graph.nodeconfig import NodeConfig, NodePlan, NodeRuntime
from ringline.names import canonical
from ringline.settings import RuntimeConfig
from ringline.wording import listed


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """What follows a node's crash and a session's end; the fields of `spec.session`, in seconds."""

    on_node_crash: str = "TerminateSession"
    restart_policy: str = "OnFailure"
    max_restarts: int = 3
    backoff_seconds: int = 1
    max_backoff_seconds: int = 60
    restart_window_seconds: int = 600
    active_deadline_seconds: int = 0
    ttl_seconds_after_finished: int = 300


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """A session before it lives. `inputs` and `outputs` map the names of the session's ends to channels."""

    pipeline: str
    nodes: tuple[NodePlan, ...]
    channels: tuple[ChannelPlan, ...]
    layout: ArenaLayout
    runtime: RuntimeConfig
    session: SessionPolicy
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    def node_config(self) -> bytes:
        """Return the NodeConfig document that all nodes of the session receive."""
        channels = {channel.name: channel for channel in self.channels}
        values = self.runtime.model_dump(mode="json")
        runtime = NodeRuntime(**(values | {"extra_paths": self.runtime.extra_paths}))
        return NodeConfig({node.name: node for node in self.nodes}, channels, self.layout, runtime).to_bytes()

    def node(self, name: str) -> NodePlan:
        """Find a node by name; '-' and '_' are alike. Raises `SessionError` naming those that exist."""
        for node in self.nodes:
            if canonical(node.name) == canonical(name):
                return node
        raise SessionError(f"there is no node '{name}' (there are: {listed(node.name for node in self.nodes)})")

    def channel(self, name: str) -> ChannelPlan:
        """Find a channel by its name ``from_to_to``. Raises `SessionError` naming those that exist."""
        for channel in self.channels:
            if canonical(channel.name) == canonical(name):
                return channel
        names = listed(channel.name for channel in self.channels)
        raise SessionError(f"there is no channel '{name}' (there are: {names})")

    def input_channel(self, name: str) -> ChannelPlan:
        """Find the channel into which the application sends, by the input's name, the node's, or ``node.port``.

        Raises `SessionError` naming the inputs that exist, or those of the node when it has several.
        """
        ends = [(end, self.channel(channel)) for end, channel in self.inputs.items()]
        return _find("input", name, [(end, channel.consumer, channel.consumer_port, channel) for end, channel in ends])

    def output_channel(self, name: str) -> ChannelPlan:
        """Find the channel from which the application receives; looked up like `input_channel`."""
        ends = [(end, self.channel(channel)) for end, channel in self.outputs.items()]
        return _find("output", name, [(end, channel.producer, channel.producer_port, channel) for end, channel in ends])


def _find(what: str, name: str, ends: list[tuple[str, str, str, ChannelPlan]]) -> ChannelPlan:
    wanted = canonical(name)
    for end, _, _, channel in ends:
        if canonical(end) == wanted:
            return channel
    of_node = [(end, channel) for end, node, _, channel in ends if canonical(node) == wanted]
    if len(of_node) == 1:
        return of_node[0][1]
    if of_node:
        raise SessionError(f"node '{name}' has several {what}s, name one of: {listed(end for end, _ in of_node)}")
    for _, node, port, channel in ends:
        if canonical(f"{node}.{port}") == wanted:
            return channel
    raise SessionError(f"the session has no {what} '{name}' (it has: {listed(end for end, *_ in ends)})")
