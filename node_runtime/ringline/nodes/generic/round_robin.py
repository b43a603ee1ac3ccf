"""Sharing work: each message to the next of several equal nodes."""

from __future__ import annotations

from typing import ClassVar

from ringline import MultiprocessNode, NodeConfigError, RuntimeData, register_node
from ringline.nodes.generic.pass_through import NoConfig
from ringline.nodes.support import Ports


@register_node("round_robin")
class RoundRobin(MultiprocessNode):
    """Sends each message to one of its outputs, in turn; the payload is not copied.

    Input `input`; outputs: any port names that channels connect, in the manifest's order. Put the same node behind each
    output, and a `reorder` behind these. With `overflow: Latest` on its channels a busy worker loses old messages and the
    others go on; with `Block` a busy worker makes all wait.

    Example::

        - {name: share, type: round_robin}       # channels: share.a → faces1.video, share.b → faces2.video
    """

    inputs: ClassVar[Ports] = {"input": "any"}
    outputs: ClassVar[Ports] = {"*": "any"}
    Config = NoConfig

    def initialize(self) -> None:
        if not self.output_ports:
            raise NodeConfigError(
                f"node '{self.node_id}' (round_robin) has no outputs: connect at least one, for example from: {self.node_id}.a"
            )
        self._next = 0

    def process(self, data: RuntimeData) -> dict[str, RuntimeData]:
        port = self.output_ports[self._next]
        self._next = (self._next + 1) % len(self.output_ports)
        return {port: data}
