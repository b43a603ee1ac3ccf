"""Three small audio effects. Each keeps a little state and answers every block at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from ringline import DataType, MultiprocessNode, RuntimeData, register_node


class Effect(MultiprocessNode):
    """What all effects have in common: float blocks in, blocks of the same length out, all fields kept."""

    inputs = {"audio": DataType.AUDIO}
    outputs = {"audio": DataType.AUDIO}

    def process(self, data: RuntimeData) -> RuntimeData:
        """Change one block; `with_` keeps session, timestamp and metadata."""
        return data.with_(payload=self.change(data.as_numpy(), data.metadata.sample_rate))

    def change(self, block: Any, rate: int) -> Any:
        """Return the changed samples; the array that came in is read-only."""
        return block


class TremoloConfig(BaseModel):
    """How the loudness swings."""

    hz: float = Field(5.0, gt=0, le=20, description="Swings per second.")
    depth: float = Field(0.5, ge=0, le=1, description="How far down it goes.")


@register_node("tremolo")
class Tremolo(Effect):
    """Loudness that swings."""

    Config = TremoloConfig

    def initialize(self) -> None:
        """Begin at the top of a swing."""
        self.position = 0

    def change(self, block: Any, rate: int) -> Any:
        """Multiply with a slow cosine that goes on where the last block ended."""
        at = np.arange(self.position, self.position + len(block)) / rate
        self.position += len(block)
        swing = (1 + np.cos(2 * np.pi * self.options.hz * at)) / 2
        return (block * (1 - self.options.depth * (1 - swing))).astype(np.float32)


class EchoConfig(BaseModel):
    """When and how loud the echo is."""

    delay_ms: int = Field(120, ge=10, le=2000, description="Delay of the echo in ms.")
    level: float = Field(0.4, ge=0, lt=1, description="Its loudness against the original.")


@register_node("echo")
class Echo(Effect):
    """One repetition, some time later."""

    Config = EchoConfig

    def initialize(self) -> None:
        """Begin with silence behind us."""
        self.past = np.zeros(0, np.float32)

    def change(self, block: Any, rate: int) -> Any:
        """Add what was heard `delay_ms` ago."""
        if not self.past.size:
            self.past = np.zeros(rate * self.options.delay_ms // 1000, np.float32)
        line = np.concatenate([self.past, block])
        self.past = line[len(block) :]
        return block + self.options.level * line[: len(block)]

    def on_flush(self) -> None:
        """Forget the past: after an interruption nothing of it shall be heard."""
        self.past = np.zeros_like(self.past)


class SoftClipConfig(BaseModel):
    """How hard it is driven."""

    drive: float = Field(2.0, gt=0, le=50, description="Amplification before the curve.")


@register_node("soft_clip")
class SoftClip(Effect):
    """A warm distortion: loud samples are bent instead of cut."""

    Config = SoftClipConfig

    def change(self, block: Any, rate: int) -> Any:
        """Bend with a hyperbolic tangent; full scale stays full scale."""
        return np.tanh(block * self.options.drive) / np.float32(np.tanh(self.options.drive))
