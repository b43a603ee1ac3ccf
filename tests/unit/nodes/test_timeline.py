"""Exact media times: whatever the block sizes, no nanosecond is lost or gained."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ringline.nodes.audio.samples import NS
from ringline.nodes.audio.timeline import JITTER_NS, Chunk, Chunker, Timeline

RATES = st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000])


def frames(count: int, channels: int = 1) -> np.ndarray:
    return np.arange(count * channels, dtype=np.float32).reshape(count, channels)


@given(rate=RATES, sizes=st.lists(st.integers(1, 2000), min_size=1, max_size=30), start=st.integers(0, 10**15))
def test_times_follow_from_the_sample_count_however_the_blocks_were_cut(
    rate: int, sizes: list[int], start: int
) -> None:
    line, sent = Timeline(rate), 0
    for size in sizes:
        line.advance(start + sent * NS // rate, size)
        sent += size
    assert [line.time_at(position) for position in (0, sent // 2, sent)] == [
        start + position * NS // rate for position in (0, sent // 2, sent)
    ]


@given(rate=RATES, other=RATES, start=st.integers(0, 10**15), position=st.integers(0, 10**6))
def test_positions_of_another_rate_have_the_same_times(rate: int, other: int, start: int, position: int) -> None:
    line = Timeline(rate)
    line.advance(start, 10)
    assert line.time_at(position, other) == start + position * NS // other


def test_the_first_block_and_a_gap_are_breaks_and_a_continuing_block_is_none() -> None:
    line = Timeline(16000)
    assert line.advance(NS, 160)
    assert not line.advance(NS + 10_000_000, 160)
    assert line.advance(2 * NS, 160)
    assert line.time_at(320) == 2 * NS
    assert line.time_at(319) == NS + 319 * NS // 16000


def test_jitter_moves_the_time_but_is_no_break() -> None:
    line = Timeline(16000)
    line.advance(0, 160)
    assert not line.advance(10_000_000 + JITTER_NS - 1, 160)
    assert line.time_at(160) == 10_000_000 + JITTER_NS - 1


def test_blocks_without_a_time_continue_the_stream() -> None:
    line = Timeline(16000)
    line.advance(0, 160)
    assert not line.advance(0, 160)
    assert line.time_at(320) == 20_000_000


def test_forgotten_anchors_are_those_that_no_later_position_needs() -> None:
    line = Timeline(1000)
    for second in range(5):
        line.advance(second * 10 * NS, 1000)
    line.forget_before(4500)
    assert line.time_at(4500) == 40 * NS + NS // 2


def test_an_overlap_is_a_break_too() -> None:
    line = Timeline(16000)
    line.advance(NS, 16000)
    assert line.advance(NS + NS // 2, 16000)


@given(rate=RATES, sizes=st.lists(st.integers(0, 3000), max_size=20), frame_ms=st.sampled_from([10, 20, 30]))
def test_chunks_hold_every_sample_once_in_order_and_at_its_time(rate: int, sizes: list[int], frame_ms: int) -> None:
    chunker, sound, sent = Chunker(frame_ms), frames(sum(sizes)), 0
    chunks: list[Chunk] = []
    for size in sizes:
        chunks += chunker.push(sound[sent : sent + size], rate, 7 + sent * NS // rate)
        sent += size
    assert all(len(chunk.frames) == rate * frame_ms // 1000 for chunk in chunks)
    chunks += chunker.flush()
    at = 0
    for chunk in chunks:
        assert chunk.timestamp == 7 + at * NS // rate
        at += len(chunk.frames)
    assert at == sent
    if chunks:
        assert np.array_equal(np.concatenate([chunk.frames for chunk in chunks]), sound)


def test_a_change_of_rate_or_channels_cuts_short_what_was_begun() -> None:
    chunker = Chunker(10)
    assert [len(chunk.frames) for chunk in chunker.push(frames(200), 16000, 0)] == [160]
    assert [(len(chunk.frames), chunk.rate) for chunk in chunker.push(frames(80), 8000, NS)] == [
        (40, 16000),
        (80, 8000),
    ]
    list(chunker.push(frames(10), 8000, 2 * NS))
    assert [chunk.frames.shape for chunk in chunker.push(frames(80, 2), 8000, 3 * NS)] == [(10, 1), (80, 2)]


def test_a_gap_cuts_short_so_that_no_chunk_spans_two_times() -> None:
    chunker = Chunker(10)
    list(chunker.push(frames(100), 16000, 0))
    found = list(chunker.push(frames(160), 16000, NS))
    assert [(chunk.timestamp, len(chunk.frames)) for chunk in found] == [(0, 100), (NS, 160)]


def test_what_waits_for_its_chunk_is_a_copy_since_the_block_goes_back_to_its_sender() -> None:
    chunker, block = Chunker(10), frames(100)
    list(chunker.push(block, 16000, 0))
    block[:] = -1
    [chunk] = chunker.flush()
    assert chunk.frames.min() == 0


def test_a_chunk_knows_its_end() -> None:
    assert Chunk(5, frames(441), 44100).end_ns == 5 + 10_000_000
