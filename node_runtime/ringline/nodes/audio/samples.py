"""Audio messages as float frames and back, whatever format and layout they have. Used by all audio and voice nodes.

Inside the nodes sound is `Frames`: float32 of shape (n, channels), full scale ±1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ringline import AudioMetadata, DataError, DataType, MultiprocessNode, RuntimeData
from ringline.data.audio import as_float32
from ringline.nodes.support import expect

Frames = NDArray[np.float32]
"""Samples of shape (n, channels), full scale ±1."""

NS = 1_000_000_000
SILENCE_DB = -120.0
"""What is reported for digital silence: JSON has no word for minus infinity."""


def duration_ns(samples: int, rate: int) -> int:
    """How long so many samples last at `rate` Hz."""
    return samples * NS // rate


def audio_metadata(node: MultiprocessNode, data: RuntimeData) -> AudioMetadata:
    """Give the metadata of an audio message. DataError for other types, and for audio without a sample rate."""
    expect(node, data, DataType.AUDIO)
    if not isinstance(data.metadata, AudioMetadata):
        raise DataError(
            f"node '{node.node_id}' needs a sample rate: make the message with RuntimeData.audio(samples, rate)"
        )
    return data.metadata


class Sound(NamedTuple):
    """An audio message, decoded."""

    frames: Frames
    rate: int
    """In Hz."""
    timestamp: int
    """Media time of the first frame in ns."""
    sixteen: bool
    """The message had 16-bit integers; nodes that change sound answer in the same format."""


def sound_of(node: MultiprocessNode, data: RuntimeData) -> Sound:
    """Decode an audio message; float32 samples are not copied.

    DataError for other types, for audio without a sample rate, and for samples that don't fit the channels.
    """
    meta = audio_metadata(node, data)
    raw = data.as_numpy()
    frames = _by_channel(raw, meta)
    if frames.ndim != 2 or frames.shape[1] != meta.channels:
        raise DataError(f"node '{node.node_id}': audio of shape {raw.shape} does not fit {meta.channels} channels")
    return Sound(as_float32(frames), meta.sample_rate, data.timestamp, raw.dtype == np.int16)


def _by_channel(raw: NDArray[Any], meta: AudioMetadata) -> NDArray[Any]:
    if meta.layout == "planar":
        return raw.T if raw.ndim == 2 or raw.size % meta.channels else raw.reshape(meta.channels, -1).T
    if raw.ndim < 2 and raw.size % meta.channels == 0:
        return raw.reshape(-1, meta.channels)
    return raw


def to_int16(frames: Frames) -> NDArray[np.int16]:
    """Float samples as 16-bit integers: clipped, NaN becomes silence."""
    clean = np.clip(np.nan_to_num(frames, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)
    whole: NDArray[np.int16] = np.clip(np.rint(clean * 32768.0), -32768, 32767).astype(np.int16)
    return whole


def mono(frames: Frames) -> Frames:
    """Give the mean of all channels, shape (n,)."""
    return frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1, dtype=np.float32)


def with_channels(frames: Frames, channels: int) -> Frames:
    """Give the same sound with another number of channels: mono is copied to all, several become their mean first."""
    if frames.shape[1] == channels:
        return frames
    return np.repeat(mono(frames)[:, None], channels, axis=1)


def audio(
    frames: Frames, rate: int, timestamp: int, *, sixteen: bool = False, extra: Mapping[str, Any] | None = None
) -> RuntimeData:
    """Give an audio message of `frames`: float32, or clipped to 16-bit integers; mono has shape (n,)."""
    channels = frames.shape[1]
    payload: NDArray[Any] = to_int16(frames) if sixteen else frames.astype(np.float32, copy=False)
    return RuntimeData(
        type=DataType.AUDIO,
        payload=payload[:, 0] if channels == 1 else payload,
        timestamp=timestamp,
        metadata=AudioMetadata(rate, channels, format="i16" if sixteen else "f32", extra=extra or {}),
    )


def level_db(frames: Frames) -> float:
    """Give the RMS level of a block in dB of full scale; at least `SILENCE_DB`."""
    if not frames.size:
        return SILENCE_DB
    power = float(np.mean(np.square(frames, dtype=np.float64)))
    return max(SILENCE_DB, 10.0 * float(np.log10(power))) if power > 0.0 else SILENCE_DB
