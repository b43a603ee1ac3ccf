"""A stand-in for a speech-to-speech model: same name, ports and config keys, but it answers by rules."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ringline import MultiprocessNode, RuntimeData, register_node


@register_node("lfm2_audio")
class Lfm2Audio(MultiprocessNode):
    """Text in, the text of the answer out. Config: `model` and `device`, which a real model would need."""

    async def initialize(self) -> None:
        """Say which device is asked for; there is nothing to load."""
        self.log.info("model %s on %s", self.config.get("model", "large"), self.config.get("device", "cpu"))

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield the answer; an async generator may yield it piece by piece."""
        said = data.as_text()
        if said:
            yield RuntimeData.text(f"You said: {said}. I will do that.", timestamp=data.timestamp)
