"""`espeak_tts`: text becomes sound, block by block, and an interruption stops it."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from ringline import DataError, NodeConfigError, RuntimeData
from ringline.nodes.voice.synthesize import EspeakTts
from ringline.testing import NodeHarness
from tests.unit.nodes.sounds import NS, Samples, is_continuous, joined, rms

ANSWER = "The kitchen light is on."


async def spoken(text: str, **config: Any) -> list[RuntimeData]:
    async with NodeHarness("tts", config) as node:
        return [output.data for output in await node.send(RuntimeData.text(text))]


def pitch_hz(samples: Samples) -> float:
    """The pitch that is heard most, by autocorrelation between 60 and 250 Hz."""
    spectrum = np.fft.rfft(samples, 2 * len(samples))
    similar = np.fft.irfft(np.abs(spectrum) ** 2)
    shortest, longest = 22050 // 250, 22050 // 60
    return 22050 / (shortest + int(np.argmax(similar[shortest:longest])))


async def test_an_answer_becomes_sound_in_blocks() -> None:
    found = await spoken(ANSWER)
    assert {message.metadata.sample_rate for message in found} == {22050}
    assert {len(message.as_numpy()) for message in found[:-1]} == {441}
    assert 0 < len(found[-1].as_numpy()) <= 441
    assert 1.0 < len(joined(found)) / 22050 < 3.0
    assert rms(joined(found)) > 0.02
    assert is_continuous(found)


async def test_the_first_and_the_last_block_are_marked() -> None:
    found = await spoken(ANSWER)
    assert [message.metadata.extra.get("event") for message in found] == [
        "first_audio",
        *[None] * (len(found) - 2),
        "last_audio",
    ]
    assert [message.metadata.extra.get("event") for message in await spoken("Oh", block_ms=1000)] == ["last_audio"]


async def test_the_rate_of_the_output_can_be_chosen() -> None:
    slow, fast = await spoken(ANSWER), await spoken(ANSWER, sample_rate=48000)
    assert {message.metadata.sample_rate for message in fast} == {48000}
    assert len(joined(fast)) / 48000 == pytest.approx(len(joined(slow)) / 22050, abs=0.05)
    assert is_continuous(fast)


async def test_speed_pitch_volume_and_voice_are_heard() -> None:
    usual = joined(await spoken(ANSWER))
    assert len(joined(await spoken(ANSWER, rate=300))) < len(usual)
    assert rms(joined(await spoken(ANSWER, volume=30))) < rms(usual) / 2
    low, high = [pitch_hz(joined(await spoken(ANSWER, pitch=pitch))) for pitch in (10, 90)]
    assert high > low * 1.3
    assert abs(pitch_hz(joined(await spoken(ANSWER, voice="de"))) - pitch_hz(usual)) > 5


async def test_sentences_are_spoken_one_after_the_other_without_a_gap_in_time() -> None:
    one, two = len(joined(await spoken("Hello there."))), len(joined(await spoken("Hello there. How are you?\nFine")))
    assert two > one * 1.5
    assert is_continuous(await spoken("Hello there. How are you?\nFine"))


@pytest.mark.parametrize("text", ["", "   ", "\n\n"])
async def test_nothing_to_say_is_silence_without_a_message(text: str) -> None:
    assert await spoken(text) == []


@pytest.mark.parametrize("text", ["naïve café", "你好 hello", "a\0b", "<b>tags</b> & {braces}", "🎉 party"])
async def test_any_text_can_be_said(text: str) -> None:
    assert len(await spoken(text)) > 0


async def test_the_answer_begins_where_the_question_ended_and_the_next_one_after_it() -> None:
    async with NodeHarness("tts") as node:
        question = RuntimeData.text("One.", timestamp=NS, extra={"end_ns": 2 * NS})
        first = [output.data for output in await node.send(question)]
        second = [output.data for output in await node.send(question)]
        assert first[0].timestamp == 2 * NS
        assert second[0].timestamp == 2 * NS + len(joined(first)) * NS // 22050
        await node.flush()
        [third, *_] = await node.send(question)
        assert third.data.timestamp == 2 * NS


async def test_an_interruption_stops_between_two_blocks() -> None:
    async with NodeHarness(EspeakTts, {}) as node:
        tts = node.node
        assert isinstance(tts, EspeakTts)
        produced = tts.process(RuntimeData.text(ANSWER))
        assert isinstance(produced, Generator)
        assert next(produced).metadata.extra["event"] == "first_audio"
        produced.close()
        await node.flush()
        assert len(await node.send(RuntimeData.text("Yes."))) > 0


async def test_realtime_sends_as_quickly_as_it_is_played() -> None:
    started = time.monotonic()
    found = await spoken("Yes.", pace="realtime")
    assert time.monotonic() - started >= (found[-1].timestamp - found[0].timestamp) / NS * 0.9


async def test_partial_results_are_not_spoken() -> None:
    async with NodeHarness("tts") as node:
        assert await node.send(RuntimeData.text("The kitch", final=False)) == []


async def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(DataError, match="given 11 characters to speak, at most 10 are allowed; raise max_characters"):
        await spoken("hello hello", max_characters=10)


async def test_other_messages_are_refused() -> None:
    async with NodeHarness("tts") as node:
        with pytest.raises(DataError, match="takes text, but a message of type audio came"):
            await node.send(RuntimeData.audio([0.0], 16000))


async def test_a_voice_that_does_not_exist_is_named() -> None:
    with pytest.raises(NodeConfigError, match="has no voice 'sarah'"):
        await spoken(ANSWER, voice="sarah")
    with pytest.raises(NodeConfigError, match="rate"):
        NodeHarness("tts", {"rate": 1.0})
