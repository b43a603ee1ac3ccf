"""Speech to text, offline: PocketSphinx with a grammar, a list of phrases, or keywords."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field, model_validator

from ringline import DataType, MultiprocessNode, RuntimeData, register_node
from ringline.nodes.audio.samples import Sound, mono, sound_of
from ringline.nodes.audio.segmenter import ENDED
from ringline.nodes.support import BoxConfig, Ports, extra_of
from ringline.nodes.voice.decoder import SpeechDecoder
from ringline.nodes.voice.grammars import grammar_text, phrases_text


class PocketsphinxAsrConfig(BoxConfig):
    """Exactly one of `grammar`, `phrases` and `keywords` says what can be heard."""

    grammar: str | None = Field(
        None,
        description="A packaged grammar (lights, yes_no, digits, player), the path of a .gram or .jsgf file, or JSGF text.",
    )
    phrases: list[str] | None = Field(
        None, min_length=1, max_length=1000, description="Sentences, one of which is said."
    )
    keywords: list[str] | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Phrases to hear anywhere; each is reported as soon as it was said.",
    )
    keyword_threshold: float = Field(
        1e-20, gt=0, le=1, description="How sure a keyword must be: 1e-50 hears nearly everything, 1 nearly nothing."
    )
    partials: bool = Field(
        default=False, description="Send what was understood so far (metadata `final` false) when it changes."
    )
    report_unrecognized: bool = Field(
        default=False,
        description="Send an empty text for an utterance that fits nothing, so that an answer can ask again.",
    )
    language: str = Field(
        "en-US", description="What to write into the text's metadata (a BCP 47 tag); the packaged model is US English."
    )
    acoustic_model: str | None = Field(None, description="Folder of another acoustic model for 16 kHz.")
    dictionary: str | None = Field(None, description="Another pronunciation dictionary.")

    @model_validator(mode="after")
    def _one_search(self) -> PocketsphinxAsrConfig:
        if sum(option is not None for option in (self.grammar, self.phrases, self.keywords)) != 1:
            raise ValueError("needs exactly one of grammar, phrases and keywords, for example grammar: lights")
        return self


@register_node("pocketsphinx_asr")
class PocketsphinxAsr(MultiprocessNode):
    """Recognizes speech within a grammar; also known as `asr`.

    Input `audio`: the `speech` of a voice activity detector, decoded block by block while it is spoken, so that the text
    leaves a few ms after the end mark; audio without such marks is one utterance per message. Any rate (converted to 16 kHz)
    and any number of channels (their mean). Output `text`: metadata `extra` has `utterance`, `start_ns` and `end_ns` (media
    time), `words` (each with its times), and `decode_ms` (from the last sound to the text). The timestamp is the beginning of
    the utterance. With `keywords` each one is sent as soon as it is heard.

    A grammar always hears one of its sentences or nothing: keep it small and its sentences different.

    Needs the extra `voice`. Example::

        - {name: asr, type: pocketsphinx_asr, config: {grammar: lights}}
        - {name: asr, type: asr, config: {phrases: ["what time is it", "stop"]}}
    """

    inputs: ClassVar[Ports] = {"audio": DataType.AUDIO}
    outputs: ClassVar[Ports] = {"text": DataType.TEXT}
    Config = PocketsphinxAsrConfig
    extra = "voice"
    aliases = ("asr",)
    options: PocketsphinxAsrConfig

    def initialize(self) -> None:
        self.report_progress(0.1, "loading the acoustic model")
        self._decoder = SpeechDecoder(self.options.acoustic_model, self.options.dictionary)
        self.report_progress(0.8, "building the grammar")
        if self.options.keywords is not None:
            self._decoder.use_keywords(self.options.keywords, self.options.keyword_threshold)
        elif self.options.phrases is not None:
            self._decoder.use_grammar(phrases_text(self.options.phrases))
        else:
            self._decoder.use_grammar(grammar_text(self.options.grammar or ""))
        self._utterances = 0
        self._close()

    def warmup(self) -> None:
        self._decoder.warm_up()

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        sound, extra = sound_of(self, data), extra_of(data)
        mark = extra.get("utterance")
        if mark is None or mark != self._mark or not self._open:
            yield from self._finish()
            self._begin(sound, mark, extra)
        started = time.perf_counter()
        self._decoder.feed(mono(sound.frames)[:, None], sound.rate, whole=mark is None)
        self._end_ns = sound.timestamp + len(sound.frames) * 1_000_000_000 // sound.rate
        if mark is None or extra.get("event") == ENDED:
            self._end_ns = int(extra.get("end_ns", self._end_ns))
            yield from self._finish(started)
        elif self.options.keywords is not None:
            yield from self._keyword()
        elif self.options.partials:
            yield from self._partial()

    def on_end(self) -> Iterator[RuntimeData]:
        yield from self._finish()

    def on_flush(self) -> None:
        self._decoder.drop()
        self._close()

    def _begin(self, sound: Sound, mark: Any, extra: dict[str, Any]) -> None:
        self._utterances += 1
        self._open, self._mark = True, mark
        self._first_ns, self._start_ns = sound.timestamp, int(extra.get("start_ns", sound.timestamp))
        self._decoder.begin()

    def _close(self) -> None:
        self._open, self._mark, self._said = False, None, ""
        self._first_ns = self._start_ns = self._end_ns = 0

    def _finish(self, started: float | None = None) -> Iterator[RuntimeData]:
        if not self._open:
            return
        began = time.perf_counter() if started is None else started
        text = self._decoder.finish()
        decode_ms = (time.perf_counter() - began) * 1e3
        if text or self.options.report_unrecognized:
            yield self._message(text, final=True, decode_ms=decode_ms)
        else:
            self.log.info("an utterance was not recognized")
            self.metrics.counter("unrecognized").inc()
        self._close()

    def _keyword(self) -> Iterator[RuntimeData]:
        """Report what was spotted and listen on; a second report of the same sound needs a new start."""
        if text := self._decoder.heard():
            yield self._message(text, final=True, decode_ms=0.0)
            self._first_ns = self._start_ns = self._end_ns
            self._decoder.begin()

    def _partial(self) -> Iterator[RuntimeData]:
        text = self._decoder.heard()
        if text and text != self._said:
            self._said = text
            yield self._message(text, final=False, decode_ms=0.0)

    def _message(self, text: str, *, final: bool, decode_ms: float) -> RuntimeData:
        words = [
            {"word": word.text, "start_ns": self._first_ns + word.start_ns, "end_ns": self._first_ns + word.end_ns}
            for word in self._decoder.words()
        ]
        extra = {
            "utterance": self._mark if self._mark is not None else self._utterances,
            "start_ns": self._start_ns,
            "end_ns": self._end_ns,
            "decode_ms": round(decode_ms, 3),
            "words": words,
        }
        return RuntimeData.text(
            text, language=self.options.language, final=final, timestamp=self._start_ns, extra=extra
        )
