"""Voice activity by the WebRTC project's detector: a small statistical model, some 3 µs per frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from ringline import register_node
from ringline.nodes.audio.samples import mono, to_int16
from ringline.nodes.audio.timeline import Chunk
from ringline.nodes.audio.voice_activity import DetectorConfig, VoiceActivityNode
from ringline.nodes.support import optional_library

_RATES = (8000, 16000, 32000, 48000)


class WebrtcVadConfig(DetectorConfig):
    aggressiveness: int = Field(
        2, ge=0, le=3, description="How readily a frame is called noise: 0 keeps most, 3 drops most."
    )


@register_node("webrtc_vad")
class WebrtcVad(VoiceActivityNode):
    """Finds speech with the WebRTC voice activity detector; better than `energy_vad` where there is noise.

    Ports, marks and options are those of `energy_vad`: input `audio`, outputs `speech` and `events`. The detector knows
    8, 16, 32 and 48 kHz; at other rates it judges a converted copy, what is sent keeps its rate.

    Needs the extra `audio`. Example::

        - {name: vad, type: webrtc_vad, config: {aggressiveness: 2, hangover_ms: 300}}
    """

    Config = WebrtcVadConfig
    extra = "audio"
    options: WebrtcVadConfig

    def initialize(self) -> None:
        super().initialize()
        self._vad: Any = optional_library("webrtcvad", "audio").Vad(self.options.aggressiveness)
        self._soxr: Any = optional_library("soxr", "audio")

    def voiced(self, chunk: Chunk) -> bool:
        samples, rate = mono(chunk.frames), chunk.rate
        if rate not in _RATES:
            samples, rate = self._soxr.resample(samples, rate, 16000, quality="QQ"), 16000
        # The detector takes exact frames only: the last one of a stream is filled with silence, a converted one may be off by one.
        exact = np.zeros(rate * self.options.frame_ms // 1000, np.float32)
        usable = min(len(exact), len(samples))
        exact[:usable] = samples[:usable]
        return bool(self._vad.is_speech(to_int16(exact).tobytes(), rate))
