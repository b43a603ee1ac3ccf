"""Whatever array or time arrives, a node answers or refuses with a DataError; it never breaks in another way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ringline import DataError, RuntimeData
from ringline.testing import NodeHarness, Output
from tests.unit.nodes.pictures import pattern, plain
from tests.unit.nodes.sounds import tone

LAST = (1 << 63) - 1
SOUND = tone(0.1)

AUDIO_NODES: dict[str, dict[str, Any]] = {
    "gain": {"gain_db": 6},
    "resample": {"sample_rate": 8000},
    "level_meter": {"interval_ms": 10},
    "mix": {"wait_ms": 0},
    "energy_vad": {},
    "webrtc_vad": {},
    "asr": {"grammar": "lights"},
    "audio_file_sink": {"path": "out.wav"},
}
VIDEO_NODES: dict[str, dict[str, Any]] = {
    "motion_detector": {},
    "face_detector": {},
    "draw": {"wait_ms": 0},
    "video_file_sink": {"path": "out.mkv"},
}
SOUNDS: dict[str, Callable[[], NDArray[Any]]] = {
    "nan": lambda: np.full(1600, np.nan, np.float32),
    "infinite": lambda: np.full(1600, np.inf, np.float32),
    "denormal": lambda: np.full(1600, 1e-40, np.float32),
    "huge": lambda: np.full(1600, 3e38, np.float32),
    "empty": lambda: np.zeros(0, np.float32),
    "zero-dim": lambda: np.array(0.5, np.float32),
    "one sample": lambda: np.array([0.5], np.float32),
    "backwards in memory": lambda: SOUND[::-1],
    "every other sample": lambda: SOUND[::2],
    "repeated by stride 0": lambda: np.broadcast_to(np.float32(0.5), (1600,)),
    "big-endian": lambda: SOUND.astype(">f4"),
    "float64": lambda: SOUND.astype(np.float64),
    "float16": lambda: SOUND.astype(np.float16),
    "int16": lambda: (SOUND * 32767).astype(np.int16),
    "big-endian int16": lambda: (SOUND * 32767).astype(">i2"),
    "int32": lambda: (SOUND * 2**31 * 0.99).astype(np.int32),
    "uint8": lambda: (SOUND * 127 + 128).astype(np.uint8),
    "Fortran order": lambda: np.asfortranarray(np.stack([SOUND, SOUND], axis=1)),
}
TIMES = {
    "backwards": [10**9, 0, 5],
    "equal": [7, 7, 7],
    "negative": [-(10**9), -(10**9) + 10, -1],
    "the first and the last": [-LAST - 1, LAST],
    "years apart": [0, 10**17, 3 * 10**17],
    "without": [0, 0, 0],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def endures(kind: str, config: dict[str, Any], messages: list[RuntimeData]) -> list[Output]:
    """What the node sends; a DataError is an answer too."""
    outputs: list[Output] = []
    async with NodeHarness(kind, config) as node:
        for message in messages:
            with suppress(DataError):
                outputs += await node.send(message)
        with suppress(DataError):
            outputs += await node.end()
    return outputs


@pytest.mark.parametrize("what", SOUNDS)
@pytest.mark.parametrize("kind", AUDIO_NODES)
async def test_audio_nodes_endure_every_array(kind: str, what: str) -> None:
    message = RuntimeData.audio(SOUNDS[what](), 16000)
    before = message.as_numpy().copy()
    outputs = await endures(kind, AUDIO_NODES[kind], [message, RuntimeData.audio(SOUND, 16000, timestamp=100_000_000)])
    assert np.array_equal(message.as_numpy(), before, equal_nan=before.dtype.kind == "f")
    assert all(output.data.size() >= 0 for output in outputs)


@pytest.mark.parametrize("what", TIMES)
@pytest.mark.parametrize("kind", AUDIO_NODES)
async def test_audio_nodes_endure_every_time(kind: str, what: str) -> None:
    await endures(kind, AUDIO_NODES[kind], [RuntimeData.audio(SOUND, 16000, timestamp=time) for time in TIMES[what]])


@pytest.mark.parametrize("kind", AUDIO_NODES)
async def test_audio_nodes_endure_a_new_format_in_every_message(kind: str) -> None:
    formats = [(16000, 1), (48000, 2), (8000, 1), (44100, 6), (16000, 1), (1000, 1), (192_000, 2)]
    messages = [
        RuntimeData.audio(np.zeros((rate // 10, channels), np.float32), rate, channels, timestamp=number * 100_000_000)
        for number, (rate, channels) in enumerate(formats)
    ]
    await endures(kind, AUDIO_NODES[kind], messages)


@pytest.mark.parametrize("what", TIMES)
@pytest.mark.parametrize("kind", VIDEO_NODES)
async def test_video_nodes_endure_every_time(kind: str, what: str) -> None:
    await endures(kind, VIDEO_NODES[kind], [RuntimeData.video(plain(), timestamp=time) for time in TIMES[what]])


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 3), (2, 2), (33, 17)])
@pytest.mark.parametrize("kind", VIDEO_NODES)
async def test_video_nodes_endure_every_size(kind: str, size: tuple[int, int]) -> None:
    picture = plain(*size)
    await endures(kind, VIDEO_NODES[kind], [RuntimeData.video(picture), RuntimeData.video(255 - picture, timestamp=40)])


@pytest.mark.parametrize("kind", VIDEO_NODES)
async def test_video_nodes_endure_every_order_in_memory(kind: str) -> None:
    [face] = await pattern(1, pattern="face", width=320, height=240)
    picture = face.as_numpy()
    views = [
        picture[::-1],
        picture[:, ::-1],
        picture[:, :, ::-1],
        np.asfortranarray(picture),
        picture[10:200:2, 20:300:3],
    ]
    await endures(
        kind, VIDEO_NODES[kind], [RuntimeData.video(view, timestamp=number) for number, view in enumerate(views)]
    )
    assert np.array_equal(picture, face.as_numpy())


@pytest.mark.parametrize(
    "box",
    [
        {"x": 1e300},
        {"w": -5},
        {"label": "ä\n\0" * 100},
        {"score": "high"},
        {"x": float("nan")},
        {"h": "3"},
        {"y": None},
    ],
)
async def test_draw_endures_every_box(box: dict[str, Any]) -> None:
    value = {"boxes": [{"x": 1, "y": 2, "w": 3, "h": 4, **box}]}
    async with NodeHarness("draw", {"wait_ms": 0}) as node:
        with suppress(DataError):
            await node.send(RuntimeData.json(value), "detections")
        [output] = [*await node.send(RuntimeData.video(plain()), "video"), *await node.end()]
    assert output.data.as_numpy().shape == (48, 64, 3)


@pytest.mark.parametrize("what", TIMES)
@pytest.mark.parametrize("kind", ["throttle", "batch", "reorder", "join", "pass_through"])
async def test_generic_nodes_endure_every_time(kind: str, what: str) -> None:
    config = {"throttle": {"max_per_s": 5}, "pass_through": {}}.get(
        kind, {"max_wait_ms" if kind == "batch" else "wait_ms": 0}
    )
    messages = [RuntimeData.text("word", timestamp=time) for time in TIMES[what]]
    outputs = await endures(kind, config, messages)
    assert len(outputs) >= 1


async def test_a_pause_of_years_in_a_mix_is_a_gap_in_its_times() -> None:
    years = 10**17
    messages = [RuntimeData.audio(SOUND, 16000, timestamp=time) for time in (0, years)]
    outputs = await endures("mix", {"wait_ms": 0}, messages)
    assert [output.data.timestamp for output in outputs] == [0, years]
    assert [len(output.data.as_numpy()) for output in outputs] == [1600, 1600]
