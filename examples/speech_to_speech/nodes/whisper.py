"""A stand-in for a Whisper node: same name, ports and config keys, but offline.

It recognizes commands for lamps with the recognizer in the box. Each audio message is one utterance.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringline import MultiprocessNode, NodeConfigError, RuntimeData, register_node
from ringline.nodes.voice.recognize import PocketsphinxAsr

MODELS = ("tiny", "base", "small", "medium", "large")


@register_node("whisper")
class Whisper(MultiprocessNode):
    """Speech to text. Config: `model` (any of Whisper's sizes) and `language` (only ``en`` here)."""

    def initialize(self) -> None:
        """Load the recognizer; a real model is loaded here too, so that no message has to wait for it."""
        if self.config.get("model", "base") not in MODELS:
            raise NodeConfigError(f"node '{self.node_id}': model must be one of {', '.join(MODELS)}")
        if self.config.get("language", "en") != "en":
            raise NodeConfigError(f"node '{self.node_id}': this offline stand-in hears only language 'en'")
        self.recognizer = PocketsphinxAsr(self.node_id, {"grammar": "lights"})
        self.recognizer.initialize()

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        """Yield the text of an utterance."""
        yield from self.recognizer.process(data)
