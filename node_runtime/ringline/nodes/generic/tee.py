"""One stream to several places."""

from __future__ import annotations

from typing import ClassVar

from ringline import MultiprocessNode, RuntimeData, register_node
from ringline.nodes.generic.pass_through import NoConfig
from ringline.nodes.support import Ports


@register_node("tee")
class Tee(MultiprocessNode):
    """Sends each message to all its outputs; the payload is not copied.

    Input `input`; outputs: any port names that channels connect (`from: tee.left`, `from: tee.right`). One output port can
    already feed several channels; a tee gives each branch a name, and a place of its own in statistics.

    Example::

        - {name: split, type: tee}
    """

    inputs: ClassVar[Ports] = {"input": "any"}
    outputs: ClassVar[Ports] = {"*": "any"}
    Config = NoConfig
    one_to_one = True

    def process(self, data: RuntimeData) -> dict[str, RuntimeData]:
        return dict.fromkeys(self.output_ports, data)
