"""From verdicts about chunks to utterances, without any sound in it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline.nodes.audio.segmenter import ENDED, MS, STARTED, Piece, Segmenter, SpeechConfig
from ringline.nodes.audio.timeline import Chunk

FRAME_MS = 20
SIZE = 160


def chunk(number: int, *, rate: int = 8000, channels: int = 1, late_ms: int = 0) -> Chunk:
    return Chunk((number * FRAME_MS + late_ms) * MS, np.full((SIZE, channels), number, np.float32), rate)


def heard(verdicts: str, **options: float) -> list[Piece]:
    """The pieces for a string of verdicts: 's' is a chunk of speech, '.' one of silence."""
    segmenter = Segmenter(SpeechConfig.model_validate(options))
    pieces = [
        p for number, verdict in enumerate(verdicts) for p in segmenter.step(chunk(number), voiced=verdict == "s")
    ]
    return [*pieces, *segmenter.finish()]


def times_ms(piece: Piece) -> tuple[int, int]:
    return piece.chunk.timestamp // MS, piece.chunk.end_ns // MS


def test_speech_begins_early_and_ends_after_the_hangover() -> None:
    pieces = heard("." * 20 + "s" * 10 + "." * 30, hangover_ms=300, start_ms=60, pre_roll_ms=100)
    first, last = pieces[0], pieces[-1]
    assert first.event == STARTED
    assert times_ms(first) == (300, 460)
    assert first.facts == {"start_ns": 400 * MS}
    assert last.event == ENDED
    assert times_ms(last) == (880, 900)
    assert last.facts == {"start_ns": 400 * MS, "end_ns": 600 * MS, "duration_ms": 200}
    assert [piece.event for piece in pieces[1:-1]] == [""] * (len(pieces) - 2)


def test_the_pieces_of_an_utterance_lie_one_behind_the_other() -> None:
    pieces = heard("." * 20 + "s" * 10 + "." * 30)
    assert all(left.chunk.end_ns == right.chunk.timestamp for left, right in itertools.pairwise(pieces))


def test_a_noise_that_is_shorter_than_the_start_is_no_speech() -> None:
    assert heard("....ss....ss....", start_ms=60) == []


def test_a_pause_that_is_shorter_than_the_hangover_does_not_end_it() -> None:
    pieces = heard("sssss" + "." * 14 + "sssss" + "." * 20, hangover_ms=300, start_ms=60)
    assert [piece.event for piece in pieces if piece.event] == [STARTED, ENDED]
    assert pieces[-1].facts == {"start_ns": 0, "end_ns": 480 * MS, "duration_ms": 480}


def test_utterances_are_numbered() -> None:
    pieces = heard(("sssss" + "." * 20) * 3)
    assert [piece.utterance for piece in pieces if piece.event == ENDED] == [1, 2, 3]


def test_the_end_of_the_stream_ends_the_utterance_with_an_empty_piece() -> None:
    *_, last = heard("." * 5 + "s" * 10)
    assert last.event == ENDED
    assert len(last.chunk.frames) == 0
    assert last.facts == {"start_ns": 100 * MS, "end_ns": 300 * MS, "duration_ms": 200}


def test_a_talker_without_end_is_cut_off_and_goes_on_in_the_next_utterance() -> None:
    pieces = heard("s" * 100, max_speech_s=0.5, start_ms=20)
    ends = [piece for piece in pieces if piece.event == ENDED]
    assert len(ends) == 4
    assert all(piece.facts is not None and piece.facts["duration_ms"] <= 500 for piece in ends)


def test_no_hangover_ends_with_the_first_silent_chunk() -> None:
    pieces = heard("sssss..", hangover_ms=0, start_ms=20)
    assert times_ms(pieces[-1]) == (100, 120)


@pytest.mark.parametrize("other", [chunk(6, rate=16000), chunk(6, channels=2), chunk(6, late_ms=500)])
def test_another_stream_ends_the_utterance(other: Chunk) -> None:
    segmenter = Segmenter(SpeechConfig())
    for number in range(6):
        list(segmenter.step(chunk(number), voiced=True))
    [last] = list(segmenter.step(other, voiced=False))
    assert last.event == ENDED
    assert (last.chunk.timestamp, last.chunk.rate) == (120 * MS, 8000)


def test_a_reset_forgets_the_utterance_but_not_its_number() -> None:
    segmenter = Segmenter(SpeechConfig(start_ms=20))
    [first] = list(segmenter.step(chunk(0), voiced=True))
    segmenter.reset()
    assert list(segmenter.finish()) == []
    [second] = list(segmenter.step(chunk(1), voiced=True))
    assert (first.utterance, second.utterance) == (1, 2)


@given(
    verdicts=st.text("s.", max_size=200),
    hangover=st.integers(0, 200),
    start=st.integers(0, 100),
    roll=st.integers(0, 300),
)
def test_starts_and_ends_come_in_pairs_and_no_sound_comes_twice(
    verdicts: str, hangover: int, start: int, roll: int
) -> None:
    pieces = heard(verdicts, hangover_ms=hangover, start_ms=start, pre_roll_ms=roll)
    marks = [piece.event for piece in pieces if piece.event]
    assert marks == [STARTED, ENDED] * (len(marks) // 2)
    ends = [0, *(piece.chunk.end_ns for piece in pieces)]
    assert all(piece.chunk.timestamp >= end for piece, end in zip(pieces, ends, strict=False))
