"""From "this frame is voiced" to utterances: the state machine behind both voice activity detectors.

Pure: it gets chunks and verdicts, and yields pieces of speech and the events that belong to them. `voice_activity` makes
messages of both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from ringline.nodes.audio.samples import NS, Frames
from ringline.nodes.audio.timeline import Chunk
from ringline.nodes.support import BoxConfig

MS = 1_000_000
STARTED = "speech_start"
ENDED = "end_of_speech"


class SpeechConfig(BoxConfig):
    """What makes an utterance, for every detector."""

    hangover_ms: int = Field(
        300, ge=0, le=10_000, description="Silence in ms that ends an utterance; pauses inside words are shorter."
    )
    start_ms: int = Field(
        100, ge=0, le=5_000, description="Speech in ms that begins an utterance; shorter noises are ignored."
    )
    pre_roll_ms: int = Field(
        200,
        ge=0,
        le=5_000,
        description="Sound in ms from before the start that is sent too: first consonants are quiet.",
    )
    max_speech_s: float = Field(
        30.0, gt=0, le=3600, description="An utterance is ended after so many seconds, whatever is heard."
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """Sound of one utterance. `event` is the mark of its first and last piece, `facts` go to the events port."""

    utterance: int
    chunk: Chunk
    event: str = ""
    facts: dict[str, Any] | None = None


class Segmenter:
    """Feed it chunks in order; every piece of an utterance is yielded as soon as it is known to be one."""

    def __init__(self, options: SpeechConfig) -> None:
        self._options = options
        self._utterances = 0
        self.reset()

    def reset(self) -> None:
        """Forget what was heard; the count of utterances goes on."""
        self._before: deque[Chunk] = deque()
        self._run_ns = 0
        self._speaking = False
        self._start = self._last_voiced = 0
        self._last: Chunk | None = None

    def step(self, chunk: Chunk, *, voiced: bool) -> Iterator[Piece]:
        """Take the next chunk and yield the pieces that follow from it."""
        if self._last is not None and self._broken(self._last, chunk):
            yield from self.finish()
        self._last = chunk
        yield from self._speech(chunk, voiced) if self._speaking else self._silence(chunk, voiced)

    def finish(self) -> Iterator[Piece]:
        """End the utterance, if one is open, with an empty piece."""
        if self._speaking and self._last is not None:
            empty: Frames = np.zeros((0, self._last.frames.shape[1]), np.float32)
            yield self._end(Chunk(self._last.end_ns, empty, self._last.rate))
        self.reset()

    def _broken(self, last: Chunk, chunk: Chunk) -> bool:
        """Say if the stream is another one from here on: a new format, or a jump longer than any pause."""
        jump = abs(chunk.timestamp - last.end_ns) > max(self._options.hangover_ms, 20) * MS
        return jump or last.rate != chunk.rate or last.frames.shape[1] != chunk.frames.shape[1]

    def _silence(self, chunk: Chunk, voiced: bool) -> Iterator[Piece]:
        self._run_ns = self._run_ns + chunk.end_ns - chunk.timestamp if voiced else 0
        self._before.append(chunk)
        if voiced and self._run_ns >= self._options.start_ms * MS:
            yield from self._begin(chunk)
            return
        keep = self._options.pre_roll_ms * MS + self._run_ns
        while self._before and chunk.end_ns - self._before[0].end_ns >= keep:
            self._before.popleft()

    def _begin(self, chunk: Chunk) -> Iterator[Piece]:
        self._speaking = True
        self._utterances += 1
        self._start, self._last_voiced = chunk.end_ns - self._run_ns, chunk.end_ns
        first = self._before[0]
        joined = Chunk(first.timestamp, np.concatenate([c.frames for c in self._before]), first.rate)
        self._before.clear()
        yield Piece(self._utterances, joined, STARTED, {"start_ns": self._start})

    def _speech(self, chunk: Chunk, voiced: bool) -> Iterator[Piece]:
        if voiced:
            self._last_voiced = chunk.end_ns
        silent = chunk.end_ns - self._last_voiced >= self._options.hangover_ms * MS
        if (silent and not voiced) or chunk.end_ns - self._start >= self._options.max_speech_s * NS:
            yield self._end(chunk)
            self.reset()
            return
        yield Piece(self._utterances, chunk)

    def _end(self, chunk: Chunk) -> Piece:
        length_ms = round((self._last_voiced - self._start) / MS)
        facts = {"start_ns": self._start, "end_ns": self._last_voiced, "duration_ms": length_ms}
        return Piece(self._utterances, chunk, ENDED, facts)
