"""A stand-in for a neural voice: same name, ports and config keys, but spoken by eSpeak NG."""

from __future__ import annotations

import numpy as np

from ringline import MultiprocessNode, NodeConfigError, RuntimeData, register_node
from ringline.nodes.voice.synthesize import EspeakTts

VOICES = {"sarah": "en-us+f3", "emma": "en-gb+f2", "john": "en-us+m3"}
NORMAL_WORDS_PER_MINUTE = 165


@register_node("vibe_voice")
class VibeVoice(MultiprocessNode):
    """Text to speech. Config: `voice` (sarah, emma, john) and `rate` (1.0 is normal speed)."""

    def initialize(self) -> None:
        """Load the voice."""
        voice = self.config.get("voice", "sarah")
        if voice not in VOICES:
            raise NodeConfigError(f"node '{self.node_id}': voice must be one of {', '.join(VOICES)}, not {voice!r}")
        words = round(NORMAL_WORDS_PER_MINUTE * float(self.config.get("rate", 1.0)))
        self.speaker = EspeakTts(self.node_id, {"voice": VOICES[voice], "rate": words})
        self.speaker.initialize()

    def process(self, data: RuntimeData) -> RuntimeData:
        """Return the whole answer as one message."""
        blocks = list(self.speaker.process(data))
        sound = np.concatenate([block.as_numpy() for block in blocks])
        return RuntimeData.audio(sound, blocks[0].metadata.sample_rate, timestamp=data.timestamp)
