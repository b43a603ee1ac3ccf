"""A sine tone, for tests, examples and measurements."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import numpy as np
from pydantic import Field

from ringline import DataType, RuntimeData, SourceNode, register_node
from ringline.nodes.audio.samples import Frames, audio, duration_ns
from ringline.nodes.pacing import PacedConfig, Pacer
from ringline.nodes.support import Ports


class ToneSourceConfig(PacedConfig):
    frequency_hz: float = Field(440.0, ge=0, le=96_000, description="Pitch in Hz; 0 is silence.")
    level_db: float = Field(-12.0, ge=-120, le=0, description="Peak level in dB of full scale.")
    sample_rate: int = Field(48000, ge=1000, le=768_000, description="Rate in Hz.")
    channels: int = Field(1, ge=1, le=64, description="All channels hold the same tone.")
    block_ms: int = Field(20, ge=1, le=10_000, description="Length in ms of a message.")
    duration_s: float = Field(0.0, ge=0, description="Length in seconds; 0: until the session ends.")


@register_node("tone_source")
class ToneSource(SourceNode):
    """Makes a sine tone.

    No input. Output `audio`: float32 blocks of `block_ms`, timestamps from 0; the phase is exact however long it runs.

    Example::

        - {name: tone, type: tone_source, config: {frequency_hz: 440, duration_s: 2}}
    """

    outputs: ClassVar[Ports] = {"audio": DataType.AUDIO}
    Config = ToneSourceConfig
    options: ToneSourceConfig

    async def produce(self) -> AsyncIterator[RuntimeData]:
        rate, pacer = self.options.sample_rate, Pacer(self.options.pace)
        size = max(1, rate * self.options.block_ms // 1000)
        left = round(self.options.duration_s * rate) or None
        at = 0
        while left is None or at < left:
            count = size if left is None else min(size, left - at)
            timestamp = duration_ns(at, rate)
            await pacer.until(timestamp)
            yield audio(self._tone(at, count), rate, timestamp)
            at += count

    def _tone(self, at: int, count: int) -> Frames:
        """Compute the phase from whole cycles, so that hours later it still has all its digits."""
        frequency, rate = self.options.frequency_hz, self.options.sample_rate
        start = (at * frequency / rate) % 1.0
        phase = 2.0 * np.pi * (start + np.arange(count) * (frequency / rate))
        wave = (10.0 ** (self.options.level_db / 20.0) * np.sin(phase)).astype(np.float32)
        return np.repeat(wave[:, None], self.options.channels, axis=1)
