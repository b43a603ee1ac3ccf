"""Voice activity by loudness: no library, no model, good enough for a quiet room and for tests."""

from __future__ import annotations

from pydantic import Field

from ringline import register_node
from ringline.nodes.audio.samples import level_db
from ringline.nodes.audio.timeline import Chunk
from ringline.nodes.audio.voice_activity import DetectorConfig, VoiceActivityNode

_FALL_DB, _RISE_DB = 3.0, 0.05
"""The noise floor follows silence down quickly and up slowly (dB per frame), so that speech does not lift it."""


class EnergyVadConfig(DetectorConfig):
    threshold_db: float = Field(
        -45.0, ge=-120, le=0, description="Frames quieter than this (dB of full scale, RMS) are never speech."
    )
    margin_db: float = Field(
        10.0, ge=0, le=60, description="Speech is at least so many dB above the noise floor, which is tracked."
    )


@register_node("energy_vad")
class EnergyVad(VoiceActivityNode):
    """Finds speech by its level above the background noise.

    Input `audio`. Output `speech`: the sound of utterances only, streamed while they are spoken (or one message each with
    `output: segments`); metadata `extra` has `utterance` (1, 2, …), and on the first and last message of an utterance
    `event` = `speech_start` | `end_of_speech` with `start_ns`, `end_ns` and `duration_ms` (media times). The first message
    begins `pre_roll_ms` early; the last leaves when `hangover_ms` of silence have passed, or when the input ends (then it
    may hold no samples). Output `events`: the same marks as JSON, for applications that interrupt an answer.
    A change of rate or channels, or a gap in the timestamps, ends an utterance.

    Example::

        - {name: vad, type: energy_vad, config: {hangover_ms: 300, threshold_db: -45}}
    """

    Config = EnergyVadConfig
    options: EnergyVadConfig

    def initialize(self) -> None:
        super().initialize()
        self._floor_db: float | None = None

    def voiced(self, chunk: Chunk) -> bool:
        level = level_db(chunk.frames)
        floor = level if self._floor_db is None else self._floor_db
        floor = max(level, floor - _FALL_DB) if level < floor else min(level, floor + _RISE_DB)
        # A stream that begins with speech has no noise to learn from: the floor never starts above the threshold.
        self._floor_db = min(floor, self.options.threshold_db)
        return level >= max(self.options.threshold_db, self._floor_db + self.options.margin_db)
