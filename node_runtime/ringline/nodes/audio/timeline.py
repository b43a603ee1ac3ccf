"""Exact media times through cutting and rejoining of audio. Used by the voice activity detectors, resampler and mixer.

A time is always computed from a sample count and an anchor (a block whose timestamp is known), never by adding up rounded
durations, so an hour of 10 ms blocks ends on the same nanosecond as one block of an hour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ringline.nodes.audio.samples import NS, Frames, duration_ns

JITTER_NS = 5_000_000
"""Timestamps that are off by less come from a sender's clock, not from lost sound (the shortest usual block is 10 ms)."""


class Timeline:
    """From sample positions of one stream to media times in ns."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.end = 0
        """Samples that have arrived."""
        self._anchors: deque[tuple[int, int]] = deque()

    def advance(self, timestamp: int, samples: int) -> bool:
        """Take a block; True if sound is missing or double before it, or if it is the first one.

        A block without a time (0) that is not the first continues the stream. One that is off by half a sample or more
        is a new anchor, so that later times are exact again; only one that is off by `JITTER_NS` is a break.
        """
        off = abs(timestamp - self.time_at(self.end)) if self._anchors and timestamp else 0
        first = not self._anchors
        if first or off * self.rate * 2 > NS:
            self._anchors.append((self.end, timestamp))
        self.end += samples
        return first or off >= JITTER_NS

    def time_at(self, position: int, rate: int | None = None) -> int:
        """Give the media time of a sample in ns. `position` counts samples of the stream, or of one in another `rate`."""
        other = rate or self.rate
        earlier = (anchor for anchor in reversed(self._anchors) if anchor[0] * other <= position * self.rate)
        start, timestamp = next(earlier, self._anchors[0])
        return timestamp + (position * self.rate - start * other) * NS // (self.rate * other)

    def forget_before(self, position: int) -> None:
        """Drop anchors that no later position needs."""
        while len(self._anchors) > 1 and self._anchors[1][0] <= position:
            self._anchors.popleft()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a stream: `frames` of shape (n, channels), its media time, its rate in Hz."""

    timestamp: int
    frames: Frames
    rate: int

    @property
    def end_ns(self) -> int:
        """The media time right after its last sample."""
        return self.timestamp + duration_ns(len(self.frames), self.rate)


class Chunker:
    """Cuts blocks of any size into chunks of `frame_ms`. A change of rate or channels, or a gap, cuts short what was begun."""

    def __init__(self, frame_ms: int) -> None:
        self._frame_ms = frame_ms
        self._line: Timeline | None = None
        self._rest: list[Frames] = []
        self._channels = 0

    def push(self, frames: Frames, rate: int, timestamp: int) -> Iterator[Chunk]:
        """Yield the chunks that are complete with this block."""
        if self._line is None or self._line.rate != rate or self._channels != frames.shape[1]:
            yield from self.flush()
            self._line, self._channels = Timeline(rate), frames.shape[1]
        line = self._line
        size = max(1, rate * self._frame_ms // 1000)
        waiting = sum(map(len, self._rest))
        if line.advance(timestamp, len(frames)) and waiting:
            yield Chunk(line.time_at(line.end - len(frames) - waiting), np.concatenate(self._rest), rate)
            self._rest, waiting = [], 0
        block = np.concatenate([*self._rest, frames]) if waiting else frames
        first = line.end - len(block)
        whole = len(block) - len(block) % size
        for at in range(0, whole, size):
            yield Chunk(line.time_at(first + at), block[at : at + size], rate)
        # A copy: the block may lie in shared memory that its sender wants back.
        self._rest = [block[whole:].copy()] if whole < len(block) else []
        line.forget_before(first + whole)

    def flush(self) -> Iterator[Chunk]:
        """Yield the incomplete chunk, if there is one, and forget the stream."""
        if self._line is not None and self._rest:
            rest = np.concatenate(self._rest)
            yield Chunk(self._line.time_at(self._line.end - len(rest)), rest, self._line.rate)
        self._line, self._rest = None, []
