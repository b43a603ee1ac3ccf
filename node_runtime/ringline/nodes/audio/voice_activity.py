"""The life of a voice activity detector: cut, judge, segment, send. `energy_vad` and `webrtc_vad` add only the judgement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from ringline import DataType, MultiprocessNode, NodeError, RuntimeData
from ringline.nodes.audio.samples import audio, sound_of
from ringline.nodes.audio.segmenter import ENDED, Piece, Segmenter, SpeechConfig
from ringline.nodes.audio.timeline import Chunk, Chunker
from ringline.nodes.support import Ports

Output = dict[str, RuntimeData]


class DetectorConfig(SpeechConfig):
    """Options that all detectors share."""

    frame_ms: Literal[10, 20, 30] = Field(20, description="Length in ms of what is judged at a time.")
    output: Literal["stream", "segments"] = Field(
        "stream",
        description="stream: send speech while it is spoken; segments: send each utterance as one message when it has ended.",
    )


class VoiceActivityNode(MultiprocessNode):
    """Cuts audio into frames, asks `voiced` about each, and sends utterances and events."""

    inputs: ClassVar[Ports] = {"audio": DataType.AUDIO}
    outputs: ClassVar[Ports] = {"speech": DataType.AUDIO, "events": DataType.JSON}
    options: DetectorConfig

    def voiced(self, chunk: Chunk) -> bool:
        """Say if there is speech in a chunk of `frame_ms` (the last one of a stream may be shorter)."""
        raise NodeError(f"{type(self).__name__} does not say if the sound at {chunk.timestamp} ns is speech")

    def initialize(self) -> None:
        self._chunker = Chunker(self.options.frame_ms)
        self._segmenter = Segmenter(self.options)
        self._held: list[Piece] = []
        self._sixteen = False

    def process(self, data: RuntimeData) -> Iterator[Output]:
        sound = sound_of(self, data)
        self._sixteen = sound.sixteen
        chunks = self._chunker.push(sound.frames, sound.rate, sound.timestamp)
        yield from self._messages(self._judge(chunks))

    def on_end(self) -> Iterator[Output]:
        yield from self._messages(self._judge(self._chunker.flush()))
        yield from self._messages(self._segmenter.finish())

    def on_flush(self) -> None:
        self._chunker = Chunker(self.options.frame_ms)
        self._segmenter.reset()
        self._held = []

    def _judge(self, chunks: Iterable[Chunk]) -> Iterator[Piece]:
        for chunk in chunks:
            yield from self._segmenter.step(chunk, voiced=self.voiced(chunk))

    def _messages(self, pieces: Iterable[Piece]) -> Iterator[Output]:
        for (utterance, event), group in groupby(pieces, key=lambda piece: (piece.utterance, piece.event)):
            run = list(group)
            yield from self._speech(run, event)
            if run[-1].facts is not None:
                self.metrics.counter("utterances").inc(event == ENDED)
                yield {"events": _event(event, utterance, run[-1])}

    def _speech(self, run: list[Piece], event: str) -> Iterator[Output]:
        """Send a run of pieces in one message, or hold it until the utterance has ended."""
        if self.options.output == "segments":
            self._held += run
            if event != ENDED:
                return
            run, self._held = self._held, []
        first = run[0].chunk
        frames = np.concatenate([piece.chunk.frames for piece in run])
        extra: dict[str, Any] = {
            "utterance": run[0].utterance,
            **({"event": event} if event else {}),
            **(run[-1].facts or {}),
        }
        yield {"speech": audio(frames, first.rate, first.timestamp, sixteen=self._sixteen, extra=extra)}


def _event(event: str, utterance: int, piece: Piece) -> RuntimeData:
    facts = piece.facts or {}
    message = RuntimeData.json({"event": event, "utterance": utterance, **facts})
    return message.with_(timestamp=facts.get("end_ns", facts["start_ns"]))
