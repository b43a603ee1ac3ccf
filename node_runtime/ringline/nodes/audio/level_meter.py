"""How loud it is, several times a second."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from pydantic import Field

from ringline import DataType, MultiprocessNode, RuntimeData, register_node
from ringline.nodes.audio.samples import NS, SILENCE_DB, Frames, duration_ns, sound_of
from ringline.nodes.support import BoxConfig, Ports


class LevelMeterConfig(BoxConfig):
    interval_ms: int = Field(100, ge=1, le=60_000, description="How much sound in ms one report is about.")


@register_node("level_meter")
class LevelMeter(MultiprocessNode):
    """Measures RMS and peak level.

    Input `audio`. Output `audio`: the same messages, not copied. Output `levels`: JSON once per `interval_ms` of sound and at
    its end: `rms_db` and `peak_db` (dB of full scale, at least -120), `clipped` (samples at or over full scale), `channels`
    (a list of `rms_db` and `peak_db` for each), `duration_ms`. Its timestamp is that of the first sample measured. A new rate
    or number of channels begins a new report.

    Example::

        - {name: meter, type: level_meter, config: {interval_ms: 100}}
    """

    inputs: ClassVar[Ports] = {"audio": DataType.AUDIO}
    outputs: ClassVar[Ports] = {"audio": DataType.AUDIO, "levels": DataType.JSON}
    Config = LevelMeterConfig
    options: LevelMeterConfig

    def initialize(self) -> None:
        self._tally: _Tally | None = None

    def process(self, data: RuntimeData) -> Iterator[dict[str, RuntimeData]]:
        sound = sound_of(self, data)
        yield {"audio": data}
        if self._tally is not None and not self._tally.fits(sound.rate, sound.frames.shape[1]):
            yield from self._report()
        at = 0
        while at < len(sound.frames):
            if self._tally is None:
                time = sound.timestamp + duration_ns(at, sound.rate)
                self._tally = _Tally(time, sound.rate, sound.frames.shape[1], self.options.interval_ms)
            at += self._tally.add(sound.frames[at:])
            if self._tally.full:
                yield from self._report()

    def on_end(self) -> Iterator[dict[str, RuntimeData]]:
        yield from self._report()

    def on_flush(self) -> None:
        self._tally = None

    def _report(self) -> Iterator[dict[str, RuntimeData]]:
        tally, self._tally = self._tally, None
        if tally is not None:
            yield {"levels": RuntimeData.json(tally.report(), timestamp=tally.timestamp)}


class _Tally:
    """Sums over one interval."""

    def __init__(self, timestamp: int, rate: int, channels: int, interval_ms: int) -> None:
        self.timestamp, self._rate = timestamp, rate
        self._wanted = max(1, rate * interval_ms // 1000)
        self._count = self._clipped = 0
        self._square = np.zeros(channels)
        self._peak = np.zeros(channels)

    def fits(self, rate: int, channels: int) -> bool:
        return (rate, channels) == (self._rate, len(self._peak))

    @property
    def full(self) -> bool:
        return self._count >= self._wanted

    def add(self, frames: Frames) -> int:
        """Count as many frames as are missing; says how many. NaN counts as silence, infinity as clipped."""
        used = np.nan_to_num(frames[: self._wanted - self._count], nan=0.0, posinf=1.0, neginf=-1.0)
        size = np.abs(used, dtype=np.float64)
        self._square += np.square(size).sum(axis=0)
        self._peak = np.maximum(self._peak, size.max(axis=0, initial=0.0))
        self._clipped += int((size >= 32767 / 32768).sum())
        self._count += len(used)
        return len(used)

    def report(self) -> dict[str, object]:
        mean = self._square / max(1, self._count)
        channels = [
            {"rms_db": _db(power, 10.0), "peak_db": _db(peak, 20.0)}
            for power, peak in zip(mean, self._peak, strict=True)
        ]
        return {
            "rms_db": _db(float(mean.mean()), 10.0),
            "peak_db": _db(float(self._peak.max(initial=0.0)), 20.0),
            "clipped": self._clipped,
            "channels": channels,
            "duration_ms": round(self._count * NS / self._rate / 1e6, 3),
        }


def _db(value: float, factor: float) -> float:
    return round(max(SILENCE_DB, factor * float(np.log10(value))), 2) if value > 0.0 else SILENCE_DB
