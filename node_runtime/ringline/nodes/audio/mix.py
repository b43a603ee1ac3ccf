"""Several streams into one."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ringline import DataType, RuntimeData, register_node
from ringline.nodes.audio.rates import RateConverter
from ringline.nodes.audio.samples import Frames, Sound, audio, duration_ns, sound_of, with_channels
from ringline.nodes.audio.timeline import Timeline
from ringline.nodes.support import BoxConfig, Ports
from ringline.nodes.waiting import Leaving, WaitingNode

_LONGEST_PAUSE_S = 1
"""A longer silence in all inputs is not made up, but a gap in the output's timestamps: it may be years."""
_LONGEST_BLOCK_S = 1


class MixConfig(BoxConfig):
    align: Literal["timestamp", "arrival"] = Field(
        "timestamp",
        description="timestamp: sounds of the same media time are added; arrival: each input is played on as it comes.",
    )
    wait_ms: int = Field(
        200,
        ge=0,
        le=60_000,
        description="How long to wait for an input that is late, in ms; it is silent then. 0: for ever.",
    )
    sample_rate: int | None = Field(
        None, ge=1000, le=768_000, description="Rate of the output in Hz; absent: that of the first message."
    )
    gains_db: dict[str, float] = Field(
        default_factory=dict, max_length=64, description="Gain in dB per input port; 0 if not named."
    )
    clip: bool = Field(default=True, description="Keep the sum within ±1.")


@register_node("mix")
class Mix(WaitingNode):
    """Adds several audio streams.

    Inputs: any port names that channels connect (`to: mix.music`, `to: mix.voice`), each with one writer. Output `audio`:
    float32 with the most channels of any input, in the first message's rate (others are converted, which needs the extra
    `audio`). Sound leaves when all inputs have delivered that time or have ended, or when a late one was awaited for `wait_ms`;
    what comes after that is dropped and counted (metric `late_samples`). A pause of all inputs of more than a second is a
    gap in the timestamps.

    Example::

        - {name: both, type: mix, config: {gains_db: {music: -12}}}
    """

    inputs: ClassVar[Ports] = {"*": DataType.AUDIO}
    outputs: ClassVar[Ports] = {"audio": DataType.AUDIO}
    Config = MixConfig
    wait_limit = "wait_ms"
    options: MixConfig

    def forget(self) -> None:
        self._rate = self.options.sample_rate
        self._tracks: dict[str, _Track] = {}
        self._start_ns = self._cursor = self._origin = 0
        self._begun = False

    def take(self, data: RuntimeData, now: float) -> None:
        sound = sound_of(self, data)
        self._origin = data.origin
        rate = self._rate = self._rate or sound.rate
        if not self._begun:
            self._begun, self._start_ns = True, sound.timestamp
        track = self._tracks.setdefault(
            data.port, _Track(rate, 10.0 ** (self.options.gains_db.get(data.port, 0.0) / 20.0))
        )
        by_time = self.options.align == "timestamp"
        self._count_late(track.take(sound, self._start_ns if by_time else None, self._cursor, now))

    async def on_input_end(self, port: str) -> None:
        """Play what the converter holds; after it this input is silent, and nobody waits for it."""
        if port in self._tracks:
            self._count_late(self._tracks[port].finish(self._cursor, asyncio.get_running_loop().time()))
        await super().on_input_end(port)

    def due(self, now: float, *, ending: bool) -> Iterator[Leaving]:
        if ending:
            for track in self._tracks.values():
                track.finish(self._cursor, now)
        limit, rate = self._limit(now, ending=ending), self._rate
        while rate is not None and limit > self._cursor:
            at = self._cursor
            following = min((track.begin for track in self._tracks.values() if track.begin is not None), default=limit)
            if following - at > rate * _LONGEST_PAUSE_S:
                self._cursor = min(following, limit)
                continue
            self._cursor = min(limit, at + rate * _LONGEST_BLOCK_S)
            made = audio(self._sum(at, self._cursor - at), rate, self._start_ns + duration_ns(at, rate))
            yield None, made.with_(origin=self._origin)

    def _limit(self, now: float, *, ending: bool) -> int:
        """Give the position up to which the mix is ready: where all inputs are, or what has waited long enough."""
        tracks = list(self._tracks.values())
        if ending:
            return max((track.end for track in tracks), default=0)
        wait = self.options.wait_ms / 1000 or math.inf
        waited = max((track.end_of_waited(wait, now) for track in tracks), default=0)
        awaited = [self._tracks.get(port) for port in self.awaited]
        ends = [track.end for track in awaited if track is not None]
        if len(ends) < len(awaited):
            return waited
        return max(waited, min(ends) if ends else max((track.end for track in tracks), default=0))

    def _count_late(self, samples: int) -> None:
        if samples:
            self.metrics.counter("late_samples").inc(samples)

    def deadline(self) -> float | None:
        oldest = [track.oldest for track in self._tracks.values() if track.oldest is not None]
        return min(oldest) + self.options.wait_ms / 1000 if oldest and self.options.wait_ms else None

    def _sum(self, at: int, count: int) -> Frames:
        channels = max(track.channels for track in self._tracks.values())
        total: Frames = np.zeros((count, channels), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for track in self._tracks.values():
                track.add_to(total, at)
        return np.clip(total, -1.0, 1.0, out=total) if self.options.clip else total


class _Track:
    """What one input has delivered and was not mixed yet: blocks at positions in the output's samples."""

    def __init__(self, rate: int, gain: float) -> None:
        self._rate, self._gain = rate, np.float32(gain)
        self._blocks: deque[tuple[int, Frames, float]] = deque()
        self._converter: RateConverter | None = None
        self._line: Timeline | None = None
        self.end = 0
        """The position after its last sample."""
        self.channels = 1

    def take(self, sound: Sound, start_ns: int | None, cursor: int, now: float) -> int:
        """Keep a block; gives the number of samples that came too late. `start_ns` is the time of position 0, or None."""
        channels = sound.frames.shape[1]
        if self._converter is None or not self._converter.fits(sound.rate, channels) or self._line is None:
            late = self.finish(cursor, now)
            self._converter, self._line = RateConverter(sound.rate, self._rate, channels), Timeline(sound.rate)
        else:
            late = 0
        if self._line.advance(sound.timestamp, len(sound.frames)):
            late += self._jump(sound, start_ns, cursor, now)
        elif start_ns is None:
            self.end = max(self.end, cursor)
        self.channels = max(self.channels, channels)
        return late + self._keep(self._converter.feed(sound.frames), cursor, now)

    def finish(self, cursor: int, now: float) -> int:
        """Take what the converter holds; it begins anew with the next block."""
        converter, self._converter = self._converter, None
        return self._keep(converter.finish(), cursor, now) if converter is not None else 0

    def _jump(self, sound: Sound, start_ns: int | None, cursor: int, now: float) -> int:
        """Put the next block where its timestamp says (or, by arrival, where the output is now)."""
        channels = sound.frames.shape[1]
        late = self.finish(cursor, now)
        self._converter = RateConverter(sound.rate, self._rate, channels)
        if start_ns is None:
            self.end = max(self.end, cursor)
        else:
            self.end = round((sound.timestamp - start_ns) * self._rate / 1_000_000_000)
        return late

    def _keep(self, frames: Frames, cursor: int, now: float) -> int:
        at, self.end = self.end, self.end + len(frames)
        late = min(len(frames), max(0, cursor - at))
        if len(frames) > late:
            # A copy: the block may lie in shared memory that its sender wants back.
            self._blocks.append((at + late, frames[late:].copy(), now))
        return late

    @property
    def begin(self) -> int | None:
        """The position of the first sample that waits."""
        return self._blocks[0][0] if self._blocks else None

    @property
    def oldest(self) -> float | None:
        """When the oldest block that waits arrived, in s."""
        return self._blocks[0][2] if self._blocks else None

    def end_of_waited(self, wait: float, now: float) -> int:
        """Give the position after the last block that has waited so many seconds."""
        return max((at + len(frames) for at, frames, arrived in self._blocks if now >= arrived + wait), default=0)

    def add_to(self, total: Frames, start: int) -> None:
        """Add what lies in the window that begins at `start`, and forget it."""
        end, kept = start + len(total), deque[tuple[int, Frames, float]]()
        for at, frames, arrived in self._blocks:
            low, high = max(at, start), min(at + len(frames), end)
            if low < high:
                part = with_channels(frames[low - at : high - at], total.shape[1])
                total[low - start : high - start] += part * self._gain
            if at + len(frames) > end:
                rest = max(0, end - at)
                kept.append((at + rest, frames[rest:], arrived))
        self._blocks = kept
