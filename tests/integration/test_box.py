"""Nodes of the box in real sessions: what the harness can't show is that clocks, loans, ports and ends hold between processes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ringline import Pipeline, ProcessCrashed, RuntimeData
from ringline.data import video_frames
from tests.integration.sessions import make, running
from tests.unit.nodes.pictures import boxes, overlap
from tests.unit.nodes.sounds import COMMAND, NS, RECORDING, blocks, is_continuous, joined, recording, rms, tone

both = pytest.mark.parametrize("executor", ["process", "inline"])


@both
async def test_a_tone_is_made_louder_and_written_and_the_session_ends_by_itself(executor: str, tmp_path: Path) -> None:
    pipeline = Pipeline("tone")
    pipeline.add_node("tone_source", "tone", {"duration_s": 0.5, "level_db": -20, "sample_rate": 16000, "pace": "fast"})
    pipeline.add_node("gain", "louder", {"gain_db": 14})
    pipeline.add_node("audio_file_sink", "record", {"path": str(tmp_path / "a.wav")})
    pipeline.connect("tone", "audio", "louder", "audio").connect("louder", "audio", "record", "audio")
    async with running(pipeline, executor) as session:
        await session.wait()
    samples, rate = soundfile.read(tmp_path / "a.wav")
    assert (rate, len(samples)) == (16000, 8000)
    assert np.abs(samples).max() == pytest.approx(10 ** (-6 / 20), abs=0.01)


@both
async def test_large_blocks_are_scaled_where_they_are_sent_from(executor: str) -> None:
    pipeline = Pipeline("loan").add_node("gain", "louder", {"gain": 2, "clip": False})
    async with running(pipeline, executor) as session:
        for value in (0.1, 0.2, 0.3):
            await session.send("louder", RuntimeData.audio(np.full(100_000, value, np.float32), 48000))
            got = await session.receive("louder")
            assert got.as_numpy() == pytest.approx(np.full(100_000, 2 * value))
            got.release()


@both
async def test_two_sources_are_mixed_by_time(executor: str) -> None:
    pipeline = Pipeline("mix")
    for name, hz in (("low", 200), ("high", 2000)):
        options = {"frequency_hz": hz, "duration_s": 0.3, "level_db": -20, "sample_rate": 16000, "pace": "fast"}
        pipeline.add_node("tone_source", name, options)
    pipeline.add_node("mix", "sum", {"wait_ms": 60_000})
    pipeline.connect("low", "audio", "sum", "low").connect("high", "audio", "sum", "high")
    pipeline.output("mixed", from_="sum.audio")
    async with running(pipeline, executor) as session:
        found = [data.copy() async for data in session.stream("mixed")]
    assert is_continuous(found)
    expected = tone(0.3, hz=200, level=0.1) + tone(0.3, hz=2000, level=0.1)
    assert joined(found) == pytest.approx(expected, abs=1e-4)


@both
async def test_a_batch_leaves_by_its_clock_while_the_input_is_open(executor: str) -> None:
    pipeline = Pipeline("batch").add_node("batch", "gather", {"max_items": 100, "max_wait_ms": 30})
    pipeline.input("words", to="gather.input").output("batches", from_="gather.output")
    async with running(pipeline, executor) as session:
        for round_number in range(3):
            for word in ("a", "b"):
                await session.send("words", f"{word}{round_number}")
            got: list[str] = []
            while len(got) < 2:
                got += (await session.receive("batches", timeout=30)).as_json()
            assert got == [f"a{round_number}", f"b{round_number}"]
        await session.send("words", "rest")
        await session.end()
        assert (await session.receive("batches", timeout=30)).as_json() == ["rest"]


@both
async def test_work_is_shared_and_comes_back_in_order(executor: str) -> None:
    pipeline = Pipeline("share").add_node("round_robin", "share")
    for name in ("one", "two", "three"):
        pipeline.add_node("pass_through", name)
        pipeline.connect("share", name, name, "input")
    pipeline.add_node("reorder", "merge", {"wait_ms": 60_000})
    for name in ("one", "two", "three"):
        pipeline.connect(name, "output", "merge", name)
    pipeline.output("merged", from_="merge.output")
    async with running(pipeline, executor) as session:

        async def feed() -> None:
            for number in range(100):
                await session.send("share", RuntimeData.text(str(number), timestamp=number * 1000))
            await session.end()

        feeding = asyncio.create_task(feed())
        got = [int(data.as_text()) async for data in session.stream("merged")]
        await feeding
    assert got == list(range(100))


@both
async def test_frames_meet_their_detections_and_are_drawn_and_written(executor: str, tmp_path: Path) -> None:
    pipeline = Pipeline("faces")
    camera = {"pattern": "face", "width": 320, "height": 240, "count": 10, "pace": "fast"}
    pipeline.add_node("video_pattern_source", "camera", camera)
    pipeline.add_node("face_detector", "faces")
    pipeline.add_node("draw", "draw", {"wait_ms": 0})
    pipeline.add_node("video_file_sink", "record", {"path": str(tmp_path / "a.mkv")})
    pipeline.connect("camera", "video", "faces", "video").connect("camera", "video", "draw", "video")
    pipeline.connect("faces", "detections", "draw", "detections").connect("draw", "video", "record", "video")
    pipeline.output("boxes", from_="faces.detections").output("truth", from_="camera.video")
    async with running(pipeline, executor) as session:
        truths = [data.metadata.extra["box"] async for data in session.stream("truth")]
        found = [boxes(data)[0] async for data in session.stream("boxes")]
        await session.wait()
    assert all(overlap(box, truth) > 0.4 for box, truth in zip(found, truths, strict=True))
    green = [((frame.as_numpy().astype(int) @ [-1, 2, -1]) > 150).sum() for frame in video_frames(tmp_path / "a.mkv")]
    assert len(green) == 10
    assert min(green) > 100


@both
async def test_a_spoken_command_from_a_file_is_answered_aloud(executor: str) -> None:
    pipeline = Pipeline("voice")
    pipeline.add_node("audio_file_source", "microphone", {"path": str(RECORDING), "pace": "fast"})
    pipeline.add_node("webrtc_vad", "vad").add_node("asr", "asr", {"grammar": "lights"})
    pipeline.add_node("text_template", "answer", {"rules": {"turn {state} the {room} light": "It is {state}."}})
    pipeline.add_node("tts", "tts")
    pipeline.connect("microphone", "audio", "vad", "audio").connect("vad", "speech", "asr", "audio")
    pipeline.connect("asr", "text", "answer", "text").connect("answer", "text", "tts", "text")
    pipeline.output("speaker", from_="tts.audio").output("transcript", from_="asr.text")
    async with running(pipeline, executor) as session:
        heard = [data.as_text() async for data in session.stream("transcript")]
        voice = [data.copy() async for data in session.stream("speaker")]
    assert heard == [COMMAND]
    assert is_continuous(voice)
    assert rms(joined(voice)) > 0.01


async def test_an_interruption_silences_a_long_answer() -> None:
    pipeline = Pipeline("talk").add_node("tts", "tts", {"pace": "realtime", "block_ms": 10})
    async with running(pipeline) as session:
        await session.send("tts", "This is a very long answer that nobody wants to hear to its end. " * 10)
        first = await session.receive("tts", timeout=30)
        assert first.metadata.extra["event"] == "first_audio"
        await session.flush("tts")
        await session.send("tts", "Yes?")
        events = []
        while "last_audio" not in events:
            events.append((await session.receive("tts", timeout=30)).metadata.extra.get("event"))
    assert len(events) < 300


async def test_a_flush_in_mid_utterance_leaves_recognition_ready_for_the_next() -> None:
    pipeline = Pipeline("hear").add_node("energy_vad", "vad").add_node("asr", "asr", {"grammar": "lights"})
    pipeline.connect("vad", "speech", "asr", "audio").output("text", from_="asr.text")
    messages = list(blocks(recording()))
    async with running(pipeline) as session:
        for message in messages[:60]:
            await session.send("vad", message)
        await session.flush("vad")
        for message in blocks(recording(), start_ns=10 * NS):
            await session.send("vad", message)
        await session.end()
        assert [data.as_text() async for data in session.stream("text")] == [COMMAND]


async def test_a_wrong_kind_of_message_ends_the_session_with_a_sentence() -> None:
    async with make(Pipeline("wrong").add_node("gain", "louder", {"gain": 2})) as session:
        await session.send("louder", RuntimeData.audio([0.1], 8000))
        await session.receive("louder")
        with pytest.raises(ProcessCrashed, match="node 'louder' takes audio, but a message of type text came"):
            await _until_it_fails(session)


async def _until_it_fails(session: object) -> None:
    for _ in itertools.repeat(None):
        await session.send("louder", RuntimeData.text("louder"))  # type: ignore[attr-defined]
        await session.receive("louder", timeout=30)  # type: ignore[attr-defined]


def sound_at(ms: int) -> RuntimeData:
    return RuntimeData.audio(np.full(160, 0.5, np.float32), 16000, timestamp=ms * 1_000_000)


def text_at(ms: int) -> RuntimeData:
    return RuntimeData.text(str(ms), timestamp=ms * 1_000_000)


@both
@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("mix", {"wait_ms": 60_000}, sound_at),
        ("reorder", {"wait_ms": 60_000}, text_at),
        ("join", {"wait_ms": 60_000, "primary": "a", "missing": "send"}, text_at),
    ],
)
async def test_an_input_that_has_ended_holds_the_others_back_no_longer(
    executor: str, kind: str, options: dict[str, Any], message: Callable[[int], RuntimeData]
) -> None:
    pipeline = Pipeline(kind).add_node(kind, "both", options)
    pipeline.input("a", to="both.a").input("b", to="both.b")
    pipeline.output("out", from_="both.audio" if kind == "mix" else "both.output")
    async with running(pipeline, executor) as session:
        await session.send("a", message(0))
        await session.end("b")
        assert (await session.receive("out", timeout=50)).timestamp == 0
        await session.send("a", message(10))
        assert (await session.receive("out", timeout=50)).timestamp == 10_000_000
