"""PocketSphinx behind a small surface: make a decoder for a grammar or for keywords, feed it, read the result.

Used by `recognize`. The library's wheel ships the US English model for 16 kHz.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ringline import NodeConfigError
from ringline.nodes.audio.rates import RateConverter
from ringline.nodes.audio.samples import Frames, to_int16
from ringline.nodes.support import optional_library
from ringline.nodes.voice.grammars import undefined_rules, words_of

RATE: Final = 16000
FRAME_NS: Final = 10_000_000
"""PocketSphinx counts time in frames of 10 ms."""
_SEARCH: Final = "ringline"


@dataclass(frozen=True, slots=True)
class Word:
    """A recognized word and where it was said, in ns from the utterance's first sample."""

    text: str
    start_ns: int
    end_ns: int


class SpeechDecoder:
    """One utterance after another: `begin`, `feed` blocks of any rate, `finish`."""

    def __init__(self, acoustic_model: str | None, dictionary: str | None) -> None:
        library = optional_library("pocketsphinx", "voice")
        paths = {key: path for key, path in (("hmm", acoustic_model), ("dict", dictionary)) if path}
        for key, path in paths.items():
            if not Path(path).exists():
                raise NodeConfigError(
                    f"the {'acoustic model' if key == 'hmm' else 'dictionary'} {path!r} does not exist"
                )
        self._decoder: Any = library.Decoder(samprate=float(RATE), lm=None, loglevel="FATAL", **paths)
        self._converter: RateConverter | None = None

    def use_grammar(self, jsgf: str) -> None:
        """Listen for the sentences of a grammar. NodeConfigError for bad JSGF, missing rules, and words without a pronunciation."""
        self._require(words_of(jsgf))
        if missing := undefined_rules(jsgf):
            raise NodeConfigError(f"the grammar uses rules that it does not define: {', '.join(sorted(missing))}")
        try:
            self._decoder.add_jsgf_string(_SEARCH, jsgf)
        except (RuntimeError, ValueError) as error:
            raise NodeConfigError(f"the grammar is not valid JSGF: {error}") from error
        self._decoder.activate_search(_SEARCH)

    def use_keywords(self, keywords: list[str], threshold: float) -> None:
        """Listen for phrases anywhere in the sound; a lower threshold hears more, also what was not said."""
        phrases = [phrase.lower().strip() for phrase in keywords]
        self._require({word for phrase in phrases for word in phrase.split()})
        with tempfile.NamedTemporaryFile("w", suffix=".kws", encoding="utf-8") as file:
            file.writelines(f"{phrase} /{threshold:g}/\n" for phrase in phrases)
            file.flush()
            self._decoder.add_kws(_SEARCH, file.name)
        self._decoder.activate_search(_SEARCH)

    def warm_up(self) -> None:
        """Decode half a second of noise, so that the first utterance finds everything loaded; then forget it."""
        means = self._decoder.get_cmn(False)
        self.begin()
        noise = np.random.default_rng(0).normal(0, 0.01, (RATE // 2, 1))
        self.feed(noise.astype(np.float32), RATE)
        self.finish()
        self._decoder.set_cmn(means)

    def begin(self) -> None:
        """Start an utterance; one that was open is dropped."""
        self.drop()
        self._decoder.start_utt()
        self._open = True

    _open = False

    def feed(self, frames: Frames, rate: int, *, whole: bool = False) -> None:
        """Decode the next block, mono of shape (n, 1). `whole`: it is the entire utterance."""
        if self._converter is None or not self._converter.fits(rate, 1):
            self._converter = RateConverter(rate, RATE, 1)
        self._process(self._converter.feed(frames), whole=whole and rate == RATE)

    def finish(self) -> str:
        """End the utterance and give its text; empty if nothing of the grammar was heard."""
        if self._converter is not None:
            self._process(self._converter.finish(), whole=False)
        self._end()
        return self.heard()

    def heard(self) -> str:
        """Give the text so far."""
        found = self._decoder.hyp()
        return str(found.hypstr).strip() if found is not None else ""

    def words(self) -> list[Word]:
        """Give the words of the last result, without fillers and the numbers of alternative pronunciations."""
        segments: Iterable[Any] = self._decoder.seg() or ()
        return [
            Word(segment.word.split("(")[0].strip(), segment.start_frame * FRAME_NS, (segment.end_frame + 1) * FRAME_NS)
            for segment in segments
            if segment.word[0] not in "<["
        ]

    def drop(self) -> None:
        """Leave the open utterance, if there is one."""
        if self._open:
            self._end()

    def _end(self) -> None:
        self._decoder.end_utt()
        self._open, self._converter = False, None

    def _process(self, frames: Frames, *, whole: bool) -> None:
        if len(frames):
            self._decoder.process_raw(to_int16(frames).tobytes(), full_utt=whole)

    def _require(self, words: set[str]) -> None:
        unknown = sorted(word for word in words if self._decoder.lookup_word(word) is None)
        if unknown:
            raise NodeConfigError(
                f"the dictionary has no pronunciation of: {', '.join(unknown)}; use other words or give a dictionary"
            )
