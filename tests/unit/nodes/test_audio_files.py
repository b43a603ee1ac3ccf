"""Sources and the sink: what is written can be read, also in the middle and after a kill."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ringline import DataError, NodeConfigError, RuntimeData
from ringline.testing import NodeHarness
from tests.unit.nodes.sounds import NS, blocks, fed, is_continuous, joined, rms, tone


async def read_back(path: Path, **config: Any) -> list[RuntimeData]:
    async with NodeHarness("audio_file_source", {"path": str(path), "pace": "fast", **config}) as node:
        return [output.data for output in await node.collect()]


async def write(path: Path, *messages: RuntimeData, **config: Any) -> None:
    async with NodeHarness("audio_file_sink", {"path": str(path), **config}) as node:
        await fed(node, messages)
        await node.end()


@pytest.mark.parametrize(("form", "tolerance"), [("i16", 1e-4), ("f32", 0.0)])
@pytest.mark.parametrize("channels", [1, 2])
async def test_what_the_sink_wrote_the_source_reads(tmp_path: Path, form: str, tolerance: float, channels: int) -> None:
    sound = np.repeat(tone(0.5, 22050)[:, None], channels, axis=1)
    await write(tmp_path / "a.wav", *blocks(sound, 22050, size=333), format=form)
    found = await read_back(tmp_path / "a.wav", block_ms=30)
    assert np.abs(joined(found).reshape(-1, channels) - sound).max() <= tolerance
    assert {(m.metadata.sample_rate, m.metadata.channels) for m in found} == {(22050, channels)}
    assert is_continuous(found)
    assert len(found[0].as_numpy()) == 661


async def test_the_file_is_complete_after_every_message(tmp_path: Path) -> None:
    path = tmp_path / "live.wav"
    async with NodeHarness("audio_file_sink", {"path": str(path)}) as node:
        for count, message in enumerate(blocks(tone(0.1), size=160), start=1):
            await node.send(message)
            with wave.open(str(path)) as file:
                assert file.getnframes() == count * 160


def test_the_file_of_a_killed_process_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "killed.wav"
    script = f"""
import asyncio, os, signal
import numpy as np
from ringline import RuntimeData
from ringline.testing import NodeHarness
async def main():
    async with NodeHarness("audio_file_sink", {{"path": {str(path)!r}}}) as node:
        for _ in range(10):
            await node.send(RuntimeData.audio(np.zeros(160, np.float32), 16000))
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == -9
    with wave.open(str(path)) as file:
        assert file.getnframes() == 1600


async def test_a_new_format_in_mid_stream_is_converted_to_the_first(tmp_path: Path) -> None:
    stereo = np.repeat(tone(0.5, 48000)[:, None], 2, axis=1)
    await write(tmp_path / "a.wav", *blocks(tone(0.5), size=160), *blocks(stereo, 48000, size=480))
    samples, rate = soundfile.read(tmp_path / "a.wav")
    assert (rate, samples.shape) == (16000, (16000,))
    assert rms(samples[8000:] - tone(0.5)) < 0.01


async def test_an_older_file_is_replaced_only_when_sound_comes(tmp_path: Path) -> None:
    path = tmp_path / "old.wav"
    path.write_bytes(b"old")
    await write(path)
    assert path.read_bytes() == b"old"
    await write(path, RuntimeData.audio(tone(0.01), 16000))
    assert soundfile.info(path).frames == 160


async def test_no_sound_lies_in_a_flushed_converter(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    async with NodeHarness("audio_file_sink", {"path": str(path)}) as node:
        await node.send(RuntimeData.audio(tone(0.1), 16000))
        await node.send(RuntimeData.audio(tone(0.1, 48000), 48000))
        before = soundfile.info(path).frames
        await node.flush()
        await node.end()
        assert soundfile.info(path).frames == before


@pytest.mark.parametrize("path", ["{tmp}", "{tmp}/nowhere/a.wav"])
async def test_a_sink_without_a_place_says_so_before_it_starts(tmp_path: Path, path: str) -> None:
    with pytest.raises(NodeConfigError, match="node 'node' can't write"):
        await write(Path(path.format(tmp=tmp_path)))


async def test_a_sink_takes_only_audio(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="takes audio"):
        await write(tmp_path / "a.wav", RuntimeData.text("la"))


async def test_a_loop_goes_on_in_time(tmp_path: Path) -> None:
    await write(tmp_path / "a.wav", RuntimeData.audio(tone(0.05), 16000))
    async with NodeHarness(
        "audio_file_source", {"path": str(tmp_path / "a.wav"), "pace": "fast", "loop": True}
    ) as node:
        found = [output.data for output in await node.collect(9)]
    assert is_continuous(found)
    assert np.array_equal(joined(found)[:800], joined(found)[800:1600])


async def test_realtime_takes_as_long_as_the_sound(tmp_path: Path) -> None:
    await write(tmp_path / "a.wav", RuntimeData.audio(tone(0.2), 16000))
    started = time.monotonic()
    await read_back(tmp_path / "a.wav", pace="realtime")
    assert time.monotonic() - started >= 0.17


@pytest.mark.parametrize("content", [None, b"", b"no sound at all"])
async def test_a_file_that_is_no_sound_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NodeConfigError, match=r"can't read the audio file .*bad\.wav"):
        await read_back(path)


async def test_a_loop_of_nothing_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    with pytest.raises(NodeConfigError, match="holds no sound"):
        await read_back(tmp_path / "empty.wav", loop=True)
    assert await read_back(tmp_path / "empty.wav") == []


async def test_flac_is_read_too(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", tone(0.1), 16000)
    assert joined(await read_back(tmp_path / "a.flac")) == pytest.approx(tone(0.1), abs=1e-4)


async def test_a_tone_is_exact_and_ends() -> None:
    config = {
        "frequency_hz": 1000,
        "level_db": -6.0206,
        "sample_rate": 44100,
        "channels": 2,
        "duration_s": 0.505,
        "pace": "fast",
    }
    async with NodeHarness("tone_source", config) as node:
        found = [output.data for output in await node.collect()]
    sound = joined(found)
    assert sound.shape == (22270, 2)
    assert is_continuous(found)
    assert sound[:, 1] == pytest.approx(tone(0.505, 44100, hz=1000)[: len(sound)], abs=1e-4)


async def test_an_endless_tone_goes_on_until_it_is_stopped() -> None:
    async with NodeHarness("tone_source", {"pace": "fast", "block_ms": 100}) as node:
        found = await node.collect(50)
    assert found[-1].data.timestamp == 49 * NS // 10
    with pytest.raises(NodeConfigError, match="level_db"):
        NodeHarness("tone_source", {"level_db": 6})


async def test_a_fast_source_lets_others_run() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async with NodeHarness("tone_source", {"pace": "fast"}) as node:
        await node.collect(20)
    task.cancel()
    assert turns >= 19
