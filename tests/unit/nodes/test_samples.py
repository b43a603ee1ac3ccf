"""Audio messages in every format become the same frames, and wrong ones are refused with a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ringline import AudioMetadata, DataError, MultiprocessNode, RuntimeData
from ringline.nodes.audio.samples import SILENCE_DB, audio, level_db, mono, sound_of, to_int16, with_channels

NODE = MultiprocessNode("ears")
STEREO = np.array([[0.5, -0.5], [0.25, -0.25], [0.0, 1.0]], np.float32)


@pytest.mark.parametrize(
    ("payload", "layout"),
    [
        (STEREO, "interleaved"),
        (STEREO.reshape(-1), "interleaved"),
        (STEREO.T, "planar"),
        (STEREO.T.reshape(-1), "planar"),
    ],
)
def test_every_layout_gives_frames_by_channels(payload: Any, layout: str) -> None:
    sound = sound_of(NODE, RuntimeData.audio(payload, 8000, 2, layout=layout, timestamp=5))
    assert np.array_equal(sound.frames, STEREO)
    assert (sound.rate, sound.timestamp, sound.sixteen) == (8000, 5, False)


def test_sixteen_bit_samples_become_floats_and_are_remembered() -> None:
    sound = sound_of(NODE, RuntimeData.audio(np.array([0, 16384, -32768], np.int16), 8000))
    assert sound.frames[:, 0].tolist() == [0.0, 0.5, -1.0]
    assert sound.sixteen


def test_float_samples_are_not_copied() -> None:
    samples = np.zeros(10, np.float32)
    assert np.shares_memory(sound_of(NODE, RuntimeData.audio(samples, 8000)).frames, samples)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (RuntimeData.text("hello"), "takes audio, but a message of type text came"),
        (RuntimeData("audio", np.zeros(4, np.float32)), "needs a sample rate"),
        (RuntimeData("audio", np.zeros(5, np.float32), metadata=AudioMetadata(8000, 2)), "does not fit 2 channels"),
        (
            RuntimeData("audio", np.zeros((5, 3), np.float32), metadata=AudioMetadata(8000, 2)),
            "does not fit 2 channels",
        ),
        (RuntimeData("audio", np.zeros(4, np.complex64), metadata=AudioMetadata(8000)), "complex64"),
    ],
)
def test_what_is_no_sound_is_refused_in_words(data: RuntimeData, words: str) -> None:
    with pytest.raises(DataError, match=words):
        sound_of(NODE, data)


def test_going_to_sixteen_bits_clips_and_turns_nan_into_silence() -> None:
    values = np.array([[2.0], [-2.0], [np.nan], [np.inf], [0.5]], np.float32)
    assert to_int16(values)[:, 0].tolist() == [32767, -32768, 0, 32767, 16384]


def test_channels_are_averaged_and_copied() -> None:
    assert mono(STEREO).tolist() == [0.0, 0.0, 0.5]
    assert with_channels(STEREO, 2) is STEREO
    assert with_channels(STEREO[:, :1], 3).tolist() == [[0.5] * 3, [0.25] * 3, [0.0] * 3]


def test_mono_messages_are_flat_and_others_are_not() -> None:
    assert audio(STEREO[:, :1], 8000, 1).as_numpy().shape == (3,)
    made = audio(STEREO, 8000, 1, sixteen=True, extra={"a": 1})
    assert (made.as_numpy().shape, made.as_numpy().dtype) == ((3, 2), np.dtype(np.int16))
    assert (made.metadata.channels, made.metadata.format, made.metadata.extra["a"]) == (2, "i16", 1)


def test_levels_are_in_decibels_and_silence_has_a_floor() -> None:
    assert level_db(np.full((10, 1), 0.1, np.float32)) == pytest.approx(-20.0, abs=1e-3)
    assert level_db(np.zeros((10, 1), np.float32)) == SILENCE_DB
    assert level_db(np.zeros((0, 1), np.float32)) == SILENCE_DB
