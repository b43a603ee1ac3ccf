"""Metadata: checked where it is made, and immutable from then on."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ringline.data.types import AudioMetadata, DataType, Metadata, TensorMetadata, TextMetadata, VideoMetadata
from ringline.errors import DataError


def test_the_defaults_are_the_documented_ones() -> None:
    audio, video = AudioMetadata(24000), VideoMetadata(640, 480)
    assert (audio.channels, audio.format, audio.layout, audio.duration_ns) == (1, "f32", "interleaved", None)
    assert (video.format, video.fps) == ("bgr24", 0.0)
    assert (TextMetadata().language, TextMetadata().final) == ("", True)
    assert TensorMetadata().names == ()
    assert dict(Metadata().extra) == {}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: AudioMetadata(0), "sample_rate must be a whole number from 1"),
        (lambda: AudioMetadata(-8000), "sample_rate"),
        (lambda: AudioMetadata(44100.5), "sample_rate"),  # type: ignore[arg-type]
        (lambda: AudioMetadata(1 << 32), "sample_rate"),
        (lambda: AudioMetadata("8000"), "sample_rate"),  # type: ignore[arg-type]
        (lambda: AudioMetadata(8000, 0), "channels must be a whole number from 1 to 65535, not 0"),
        (lambda: AudioMetadata(8000, layout="diagonal"), "layout 'diagonal' is unknown"),
        (lambda: AudioMetadata(8000, duration_ns=-1), "duration_ns"),
        (lambda: AudioMetadata(8000, format="f32\n"), "format must be at most 60 printable characters"),
        (lambda: VideoMetadata(-1, 480), "width"),
        (lambda: VideoMetadata(640, 480, "x" * 61), "format"),
        (lambda: VideoMetadata(640, 480, fps="fast"), "fps 'fast' is not a number"),  # type: ignore[arg-type]
        (lambda: TextMetadata(language=None), "language"),  # type: ignore[arg-type]
        (lambda: TensorMetadata(("a", 1)), "names"),  # type: ignore[arg-type]
        (lambda: TensorMetadata(("a",) * 256), "255 axis names"),
        (lambda: Metadata(extra=[1]), "extra must be a mapping"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_field_is_named(make: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        make()


def test_whole_numbers_of_other_types_become_int() -> None:
    metadata = AudioMetadata(44100.0, True)  # type: ignore[arg-type]
    assert (metadata.sample_rate, metadata.channels) == (44100, 1)
    assert type(metadata.sample_rate) is type(metadata.channels) is int


def test_metadata_cannot_be_changed_but_replaced() -> None:
    metadata = AudioMetadata(8000, extra={"a": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        metadata.sample_rate = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        metadata.extra["a"] = 2  # type: ignore[index]
    assert dataclasses.replace(metadata, channels=2) == AudioMetadata(8000, 2, extra={"a": 1})


def test_extra_is_taken_as_it_was_given() -> None:
    given = {"a": 1}
    metadata = Metadata(extra=given)
    given["b"] = 2
    assert metadata == Metadata(extra={"a": 1})
    assert hash(metadata) == hash(Metadata())


def test_types_know_their_number_and_their_name() -> None:
    assert [item.code for item in DataType] == list(range(1, 10))
    assert DataType("audio") is DataType.AUDIO
    assert f"{DataType.AUDIO}" == "audio"
    assert str(DataType.AUDIO) == "audio"
