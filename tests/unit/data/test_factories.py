"""The short ways to make a message, and raw values that become one."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringline.data.runtime_data import RuntimeData
from ringline.data.types import AudioMetadata, DataType, VideoMetadata
from ringline.errors import DataError


def test_the_documented_audio_factory() -> None:
    data = RuntimeData.audio([0.25, -0.25], 24000, 1)
    assert data.as_numpy().dtype == np.float32
    assert data.metadata == AudioMetadata(24000, 1, "f32")


@pytest.mark.parametrize(("dtype", "name"), [("f4", "f32"), ("f8", "f64"), ("i2", "i16"), ("i4", "i32"), ("u1", "u8")])
def test_the_format_follows_the_samples(dtype: str, name: str) -> None:
    assert RuntimeData.audio(np.zeros(2, dtype), 8000).metadata.format == name


@pytest.mark.parametrize(
    ("shape", "layout", "channels"), [((5, 2), "interleaved", 2), ((2, 5), "planar", 2), ((5,), "planar", 1)]
)
def test_the_number_of_channels_follows_the_shape(shape: tuple[int, ...], layout: str, channels: int) -> None:
    assert RuntimeData.audio(np.zeros(shape), 8000, layout=layout).metadata.channels == channels


def test_samples_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="audio samples must be numbers"):
        RuntimeData.audio(["loud"], 8000)


@pytest.mark.parametrize(
    ("shape", "pixel_format", "expected"),
    [
        ((4, 6, 3), None, VideoMetadata(6, 4, "bgr24", 25)),
        ((4, 6, 3), "rgb24", VideoMetadata(6, 4, "rgb24", 25)),
        ((4, 6, 4), None, VideoMetadata(6, 4, "bgra", 25)),
        ((4, 6), None, VideoMetadata(6, 4, "gray", 25)),
        ((6, 6), "yuv420p", VideoMetadata(6, 4, "yuv420p", 25)),
    ],
)
def test_a_picture_knows_its_size(shape: tuple[int, ...], pixel_format: str | None, expected: VideoMetadata) -> None:
    assert RuntimeData.video(np.zeros(shape, np.uint8), fps=25, format=pixel_format).metadata == expected


@pytest.mark.parametrize(("shape", "says"), [((4,), "shape"), ((2, 2, 2), "2 channels"), ((1, 2, 3, 4), "shape")])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(DataError, match=says):
        RuntimeData.video(np.zeros(shape, np.uint8))


def test_a_control_message_has_a_name_and_fields() -> None:
    assert RuntimeData.control("speak", rate=2).payload == {"name": "speak", "rate": 2}
    with pytest.raises(DataError, match="its first argument"):
        RuntimeData.control("speak", name="other")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.zeros(2), "tensor"),
        (np.float32(1), "tensor"),
        ("text", "text"),
        (b"bytes", "binary"),
        (bytearray(b"x"), "binary"),
        (memoryview(b"x"), "binary"),
        (Path("/a"), "file"),
        ({"a": 1}, "json"),
        ([1], "json"),
        (None, "json"),
        (1.5, "json"),
        (True, "json"),
    ],
)
def test_a_raw_value_has_a_natural_type(value: Any, expected: str) -> None:
    assert RuntimeData.coerce(value).type == expected


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        (np.zeros(2), DataType.AUDIO, "audio"),
        (np.zeros((2, 2)), DataType.VIDEO, "video"),
        ("/a", DataType.FILE, "file"),
        ("a", DataType.JSON, "json"),
        ({"name": "go"}, DataType.CONTROL, "control"),
        ("a", DataType.AUDIO, "text"),
        (b"a", DataType.TEXT, "binary"),
        (b"a", DataType.AUDIO, "binary"),
    ],
)
def test_a_raw_value_becomes_what_is_wanted_if_it_can(value: Any, wanted: DataType, expected: str) -> None:
    assert RuntimeData.coerce(value, wanted).type == expected


def test_a_message_stays_what_it_is() -> None:
    data = RuntimeData.text("a")
    assert RuntimeData.coerce(data, DataType.AUDIO) is data


def test_a_raw_value_takes_over_what_fits_of_a_message_like_it() -> None:
    like = RuntimeData.audio([0.0], 16000, session_id="s", timestamp=5)
    audio, text = RuntimeData.coerce(np.zeros(3), like), RuntimeData.coerce("a", like)
    assert (audio.type, audio.metadata.sample_rate, audio.session_id, audio.timestamp) == ("audio", 16000, "s", 5)
    assert (text.type, text.metadata, text.session_id, text.timestamp) == ("text", None, "s", 5)


def test_the_content_of_a_wav_file_becomes_its_samples() -> None:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.array([0, 16384], "<i2").tobytes())
    data = RuntimeData.coerce(content.getvalue(), DataType.AUDIO)
    assert data.as_numpy().tolist() == [0, 0.5]
    assert data.metadata.sample_rate == 8000


def test_a_broken_wav_file_is_refused() -> None:
    with pytest.raises(DataError, match="not a PCM WAV file"):
        RuntimeData.coerce(b"RIFF----", DataType.AUDIO)


def test_a_value_of_no_use_is_refused_with_what_can_be_sent() -> None:
    with pytest.raises(DataError, match="a set can't be sent; send a RuntimeData, a numpy array"):
        RuntimeData.coerce({1})
