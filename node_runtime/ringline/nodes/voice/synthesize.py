"""Text to speech, offline: eSpeak NG."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from ringline import DataError, DataType, MultiprocessNode, RuntimeData, register_node
from ringline.data.audio import as_float32
from ringline.nodes.audio.rates import RateConverter
from ringline.nodes.audio.samples import Frames, audio, duration_ns
from ringline.nodes.support import BoxConfig, Ports, extra_of, final_text
from ringline.nodes.voice.espeak import espeak

_SENTENCE_END: Final = re.compile(r"(?<=[.!?;:])\s+|\n+")


class EspeakTtsConfig(BoxConfig):
    voice: str = Field(
        "en-us",
        min_length=1,
        max_length=60,
        description="An eSpeak NG voice, with a variant if wanted: en-gb, de, en-us+f3.",
    )
    rate: int = Field(165, ge=80, le=450, description="Words per minute.")
    pitch: int = Field(50, ge=0, le=99, description="Base pitch, 0 low to 99 high.")
    volume: int = Field(100, ge=0, le=200, description="Loudness in percent of normal; over 100 may clip.")
    sample_rate: int | None = Field(
        None, ge=8000, le=192_000, description="Rate in Hz of the output; absent: eSpeak's own 22050."
    )
    block_ms: int = Field(20, ge=5, le=1000, description="Length in ms of an output message.")
    pace: Literal["fast", "realtime"] = Field(
        "fast",
        description="fast: send at once what is made; realtime: as quickly as it is played, so that an interruption stops it at the source.",
    )
    max_characters: int = Field(5000, ge=1, le=100_000, description="A longer text is refused.")


@register_node("espeak_tts")
class EspeakTts(MultiprocessNode):
    """Speaks text; also known as `tts`.

    Input `text`; partial results (metadata `final` false) are skipped. Output `audio`: mono
    float32 in blocks of `block_ms`, the first about 1 ms after the text came: sentences are made one by one, and a flush stops
    between two blocks. `extra` of the first block of a text has `event: first_audio`, of the last one `event: last_audio`; a
    text of one block has `last_audio` only. Timestamps begin at the text's own or its `end_ns` (where the question
    ended), or where the last answer ends, whatever is latest.

    Needs the extra `voice` (it brings eSpeak NG, GPL-3). Example::

        - {name: tts, type: espeak_tts, config: {voice: en-us, rate: 165}}
    """

    inputs: ClassVar[Ports] = {"text": DataType.TEXT}
    outputs: ClassVar[Ports] = {"audio": DataType.AUDIO}
    Config = EspeakTtsConfig
    extra = "voice"
    aliases = ("tts",)
    options: EspeakTtsConfig

    def initialize(self) -> None:
        self._espeak = espeak()
        self._espeak.check_voice(self.options.voice)
        self._rate = self.options.sample_rate or self._espeak.rate
        self._spoken_until = 0

    def warmup(self) -> None:
        for _ in self._blocks("Ready."):
            pass

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        text = final_text(self, data)
        if text is None:
            return
        if len(text) > self.options.max_characters:
            raise DataError(
                f"node '{self.node_id}' was given {len(text)} characters to speak, at most {self.options.max_characters} are allowed;"
                " raise max_characters or send it in parts"
            )
        yield from self._paced(
            self._messages(text, max(data.timestamp, int(extra_of(data).get("end_ns", 0)), self._spoken_until))
        )

    def on_flush(self) -> None:
        self._spoken_until = 0

    def _messages(self, text: str, start_ns: int) -> Iterator[RuntimeData]:
        """Mark the first and the last block and give each its time; for that one block is held back until the next is there."""
        held: Frames | None = None
        at, event = 0, "first_audio"
        for block in self._blocks(text):
            if held is not None:
                yield self._message(held, start_ns + duration_ns(at, self._rate), event)
                at, event = at + len(held), ""
            held = block
        if held is not None:
            self._spoken_until = start_ns + duration_ns(at + len(held), self._rate)
            yield self._message(held, start_ns + duration_ns(at, self._rate), "last_audio")

    def _message(self, block: Frames, timestamp: int, event: str) -> RuntimeData:
        self._spoken_until = timestamp + duration_ns(len(block), self._rate)
        return audio(block, self._rate, timestamp, extra={"event": event} if event else None)

    def _blocks(self, text: str) -> Iterator[Frames]:
        size = max(1, self._rate * self.options.block_ms // 1000)
        rest: Frames = np.zeros((0, 1), np.float32)
        for made in self._sound(text):
            sound = np.concatenate([rest, made])
            whole = len(sound) - len(sound) % size
            yield from (sound[at : at + size] for at in range(0, whole, size))
            rest = sound[whole:]
        if len(rest):
            yield rest

    def _sound(self, text: str) -> Iterator[Frames]:
        """Make sentence after sentence, at the output's rate."""
        converter = RateConverter(self._espeak.rate, self._rate, 1)
        options = self.options
        for sentence in filter(str.strip, _SENTENCE_END.split(text)):
            samples = self._espeak.say(
                sentence, voice=options.voice, words_per_minute=options.rate, pitch=options.pitch, volume=options.volume
            )
            yield converter.feed(as_float32(samples)[:, None])
        yield converter.finish()

    def _paced(self, messages: Iterator[RuntimeData]) -> Iterator[RuntimeData]:
        started, first_ns = time.monotonic(), None
        for message in messages:
            yield message
            if self.options.pace == "realtime":
                first_ns = message.timestamp if first_ns is None else first_ns
                ahead = (message.timestamp - first_ns) / 1e9 - (time.monotonic() - started)
                time.sleep(max(0.0, ahead))
