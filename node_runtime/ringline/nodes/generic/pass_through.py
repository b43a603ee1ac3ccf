"""Does nothing, without a copy: to measure a hop, or to hold a place in a graph."""

from __future__ import annotations

from typing import ClassVar

from ringline import MultiprocessNode, RuntimeData, register_node
from ringline.nodes.support import BoxConfig, Ports


class NoConfig(BoxConfig):
    """There is nothing to configure."""


@register_node("pass_through")
class PassThrough(MultiprocessNode):
    """Sends on what it gets; the payload is not copied.

    Input `input` and output `output` of any type.

    Example::

        - {name: hop, type: pass_through}
    """

    inputs: ClassVar[Ports] = {"input": "any"}
    outputs: ClassVar[Ports] = {"output": "any"}
    Config = NoConfig
    one_to_one = True

    def process(self, data: RuntimeData) -> RuntimeData:
        return data
