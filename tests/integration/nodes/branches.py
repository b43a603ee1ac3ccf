"""Branches of a diamond: one that answers each message, and one that answers each fourth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ringline import MultiprocessNode, RuntimeData, register_node

Ports = Mapping[str, Any]


@register_node("t_weigh")
class Weigh(MultiprocessNode):
    """The number of bytes of each message, as JSON with its timestamp."""

    inputs: ClassVar[Ports | None] = {"input": "any"}
    outputs: ClassVar[Ports | None] = {"output": "any"}
    one_to_one = True

    def process(self, data: RuntimeData) -> RuntimeData | None:
        return RuntimeData.json({"bytes": data.size()}, timestamp=data.timestamp)


@register_node("t_weigh_some")
class WeighSome(Weigh):
    """The same for each fourth message only."""

    inputs: ClassVar[Ports | None] = {"input": "any"}
    outputs: ClassVar[Ports | None] = {"output": "any"}
    one_to_one = False
    taken = 0

    def process(self, data: RuntimeData) -> RuntimeData | None:
        self.taken += 1
        return super().process(data) if self.taken % 4 == 0 else None
