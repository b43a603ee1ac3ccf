"""`energy_vad` and `webrtc_vad`: speech out of sound, with marks, whatever the blocks are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from ringline import DataError, NodeConfigError, RuntimeData
from ringline.testing import NodeHarness, Output
from tests.unit.nodes.sounds import NS, blocks, fed, is_continuous, joined, on, recording, silence, tone, utterance

BOTH = pytest.mark.parametrize("kind", ["energy_vad", "webrtc_vad"])


async def detected(kind: str, config: dict[str, Any], messages: Iterable[RuntimeData]) -> list[Output]:
    async with NodeHarness(kind, config) as node:
        return [*await fed(node, messages), *await node.end()]


def marks(outputs: Iterable[Output]) -> list[str]:
    return [data.as_json()["event"] for data in on(outputs, "events")]


@BOTH
@pytest.mark.parametrize("rate", [16000, 44100, 48000])
async def test_the_spoken_command_is_found(kind: str, rate: int) -> None:
    outputs = await detected(kind, {}, blocks(recording(rate), rate, size=rate // 50))
    assert marks(outputs) == ["speech_start", "end_of_speech"]
    end = on(outputs, "events")[-1].as_json()
    assert 0.3 * NS < end["start_ns"] < 0.6 * NS
    assert 1.6 * NS < end["end_ns"] < 2.0 * NS
    speech = on(outputs, "speech")
    assert is_continuous(speech)
    assert {message.metadata.sample_rate for message in speech} == {rate}


@BOTH
async def test_silence_is_no_speech(kind: str) -> None:
    assert await detected(kind, {}, blocks(silence(2.0))) == []


async def test_first_and_last_message_are_marked_and_the_others_are_not() -> None:
    speech = on(await detected("energy_vad", {}, blocks(utterance())), "speech")
    assert [message.metadata.extra.get("event") for message in (speech[0], *speech[1:-1], speech[-1])] == [
        "speech_start",
        *[None] * (len(speech) - 2),
        "end_of_speech",
    ]
    assert {message.metadata.extra["utterance"] for message in speech} == {1}
    assert speech[-1].metadata.extra["duration_ms"] == 600


async def test_what_is_sent_is_the_sound_itself() -> None:
    sound = utterance()
    speech = on(await detected("energy_vad", {"pre_roll_ms": 200, "hangover_ms": 300}, blocks(sound)), "speech")
    start = speech[0].timestamp * 16000 // NS
    assert start == round(0.3 * 16000)
    assert np.array_equal(joined(speech), sound[start : start + len(joined(speech))])


@pytest.mark.parametrize("size", [1, 97, 320, 5000, 10**6])
async def test_the_size_of_blocks_does_not_matter(size: int) -> None:
    speech = on(await detected("energy_vad", {}, blocks(utterance(0.3, 0.3, 0.5), size=size)), "speech")
    assert (speech[0].timestamp, len(joined(speech))) == (NS // 10, 12800)


async def test_speech_is_streamed_while_it_is_spoken() -> None:
    async with NodeHarness("energy_vad", {"start_ms": 60}) as node:
        outputs = await fed(node, blocks(np.concatenate([silence(0.2), tone(0.5)])))
        assert marks(outputs) == ["speech_start"]
        assert len(joined(on(outputs, "speech"))) == round(0.7 * 16000)


async def test_segments_come_whole() -> None:
    sound = np.concatenate([utterance(), utterance()])
    speech = on(await detected("energy_vad", {"output": "segments"}, blocks(sound)), "speech")
    assert [message.metadata.extra["utterance"] for message in speech] == [1, 2]
    assert [message.metadata.extra["event"] for message in speech] == ["end_of_speech"] * 2
    assert len(speech[0].as_numpy()) == round((0.2 + 0.6 + 0.3) * 16000)


async def test_the_end_of_the_input_ends_the_utterance() -> None:
    outputs = await detected("energy_vad", {}, blocks(tone(0.5)[:-50]))
    assert marks(outputs) == ["speech_start", "end_of_speech"]
    assert len(joined(on(outputs, "speech"))) == 8000 - 50


async def test_a_flush_forgets_the_utterance() -> None:
    async with NodeHarness("energy_vad", {}) as node:
        await fed(node, blocks(tone(0.5)))
        await node.flush()
        assert await node.end() == []


async def test_stereo_and_sixteen_bits_stay_what_they_are() -> None:
    sound = (np.stack([utterance(), utterance()], axis=1) * 32767).astype(np.int16)
    speech = on(await detected("energy_vad", {}, blocks(sound)), "speech")
    assert {(message.as_numpy().dtype, message.metadata.channels) for message in speech} == {(np.dtype(np.int16), 2)}


async def test_a_new_rate_in_mid_speech_ends_the_utterance_and_begins_another() -> None:
    messages = [*blocks(tone(0.5)), *blocks(tone(0.5, 48000), 48000, size=960, start_ns=NS // 2)]
    outputs = await detected("energy_vad", {}, messages)
    assert marks(outputs) == ["speech_start", "end_of_speech"] * 2
    assert [message.metadata.sample_rate for message in on(outputs, "speech") if "event" in message.metadata.extra] == [
        16000,
        16000,
        48000,
        48000,
    ]


async def test_steady_noise_is_learnt_and_speech_above_it_is_found() -> None:
    noise = np.random.default_rng(2).normal(0, 0.02, 16000 * 3).astype(np.float32)
    noise[32000:40000] += tone(0.5)
    outputs = await detected("energy_vad", {"threshold_db": -30}, blocks(noise))
    assert marks(outputs) == ["speech_start", "end_of_speech"]
    assert abs(on(outputs, "events")[0].as_json()["start_ns"] - 2 * NS) <= 20_000_000


async def test_a_higher_threshold_hears_less() -> None:
    quiet = utterance() * np.float32(0.02)
    assert marks(await detected("energy_vad", {"threshold_db": -50}, blocks(quiet))) != []
    assert marks(await detected("energy_vad", {"threshold_db": -20}, blocks(quiet))) == []


async def test_nan_is_no_speech() -> None:
    assert await detected("webrtc_vad", {}, blocks(np.full(16000, np.nan, np.float32))) == []


@BOTH
async def test_bad_input_and_options_are_refused(kind: str) -> None:
    with pytest.raises(DataError, match="takes audio, but a message of type video came"):
        await detected(kind, {}, [RuntimeData.video(np.zeros((2, 2, 3), np.uint8))])
    with pytest.raises(NodeConfigError, match="hangover_ms"):
        NodeHarness(kind, {"hangover_ms": -1})
    with pytest.raises(NodeConfigError, match="frame_ms"):
        NodeHarness(kind, {"frame_ms": 15})
    with pytest.raises(NodeConfigError, match="hang_over"):
        NodeHarness(kind, {"hang_over": 300})
