"""Sound files to messages and back.

Applications call `load_audio_file` and `save_audio_file`; the file nodes and `RuntimeData.coerce` use the rest. WAV needs
nothing but the standard library, other formats and WAV variants need PyAV, another sample rate needs soxr.
"""

from __future__ import annotations

import io
import os
import wave
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from ringline.data.arrays import Array
from ringline.data.runtime_data import RuntimeData
from ringline.errors import DataError

Dtype = Literal["float32", "int16"]
_FULL_SCALE: Final = {1: 1 << 7, 2: 1 << 15, 3: 1 << 31, 4: 1 << 31}
"""By sample width in bytes; 24-bit samples are read into the top of 32 bits."""


def load_audio_file(
    path: str | os.PathLike[str], *, sample_rate: int | None = None, dtype: Dtype = "float32"
) -> RuntimeData:
    """Read a whole sound file: shape (n,) for mono, (n, channels) otherwise; float32 in -1..1, or int16.

    `sample_rate` in Hz resamples (needs soxr). Raises FileNotFoundError, or DataError for a file that is no sound or that
    needs a library that is not installed.
    """
    file = Path(path)
    content = file.read_bytes()
    try:
        samples, rate = _read_wav(io.BytesIO(content))
    except (wave.Error, EOFError):
        samples, rate = _read_by_av(file)
    return _message(samples, rate, sample_rate, dtype)


def read_wav_bytes(content: bytes, *, sample_rate: int | None = None, dtype: Dtype = "float32") -> RuntimeData:
    """Read the same from a WAV file's content. DataError if it is none."""
    try:
        samples, rate = _read_wav(io.BytesIO(content))
    except (wave.Error, EOFError) as error:
        raise DataError(f"these bytes are not a PCM WAV file: {error or 'they are cut off'}") from None
    return _message(samples, rate, sample_rate, dtype)


def save_audio_file(path: str | os.PathLike[str], data: RuntimeData | Iterable[RuntimeData]) -> None:
    """Write a message, or several one after the other, as a WAV file of 16-bit samples.

    Samples outside -1..1 are clipped. DataError if a message is not audio, has no AudioMetadata, or if the messages differ
    in sample rate or channels.
    """
    messages = [data] if isinstance(data, RuntimeData) else list(data)
    if not messages:
        raise DataError(f"there is nothing to write to {os.fspath(path)}")
    formats = {(item.metadata.sample_rate, item.metadata.channels) for item in map(_checked, messages)}
    if len(formats) > 1:
        raise DataError(f"one file can't hold several formats (rate, channels): {sorted(formats)}")
    ((rate, channels),) = formats
    content = b"".join(as_int16(item).tobytes() for item in messages)
    with wave.open(os.fspath(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(content)


def as_int16(data: RuntimeData) -> Array:
    """Give a message's samples as little-endian int16 in the interleaved order of files, whatever they were."""
    samples = data.as_numpy()
    if data.metadata.layout == "planar" and samples.ndim == 2:
        samples = samples.T
    if samples.dtype.kind == "f":
        scaled = np.nan_to_num(samples.astype(np.float64), posinf=1.0, neginf=-1.0) * 32768
        return np.clip(np.rint(scaled), -32768, 32767).astype("<i2")
    if samples.dtype.kind in "iu":
        return _integers_to_int16(samples)
    raise DataError(f"audio of dtype {samples.dtype} has no form in a WAV file")


def as_float32(samples: Array) -> Array:
    """Give samples as float32 in -1..1; integers are divided by their full scale, float32 is returned as it is."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype.kind == "i":
        scaled: Array = samples.astype(np.float32) / np.float32(1 << (8 * samples.dtype.itemsize - 1))
        return scaled
    raise DataError(f"audio of dtype {samples.dtype} has no full scale")


def _integers_to_int16(samples: Array) -> Array:
    if samples.dtype == np.uint8:
        return ((samples.astype(np.int16) - 128) << 8).astype("<i2")
    shift = 8 * samples.dtype.itemsize - 16
    return (samples >> shift if shift > 0 else samples).astype("<i2")


def _checked(data: RuntimeData) -> RuntimeData:
    if data.type != "audio":
        raise DataError(f"a {data.type.value} message can't be written to a sound file")
    if not hasattr(data.metadata, "sample_rate"):
        raise DataError("the audio message has no AudioMetadata, so its sample rate is unknown")
    return data


def _message(samples: Array, rate: int, sample_rate: int | None, dtype: str) -> RuntimeData:
    if dtype not in ("float32", "int16"):
        raise DataError(f"dtype {dtype!r} is not one of 'float32' and 'int16'")
    if sample_rate is not None and sample_rate != rate:
        samples, rate = resample(as_float32(samples), rate, sample_rate), sample_rate
    channels = samples.shape[1] if samples.ndim == 2 else 1
    if dtype == "float32":
        return RuntimeData.audio(as_float32(samples), rate, channels)
    return RuntimeData.audio(as_int16(RuntimeData.audio(samples, rate, channels)), rate, channels)


def resample(samples: Array, from_rate: int, to_rate: int) -> Array:
    """Give the samples (shape (n,) or (n, channels)) at another rate. DataError if soxr is not installed."""
    try:
        import soxr
    except ImportError:
        raise DataError(
            f"resampling from {from_rate} to {to_rate} Hz needs soxr: pip install 'ringline[audio]'"
        ) from None
    resampled: Array = soxr.resample(samples, from_rate, to_rate)
    return resampled


def _read_wav(source: Any) -> tuple[Array, int]:
    with wave.open(source, "rb") as file:
        width, channels = file.getsampwidth(), file.getnchannels()
        if width not in _FULL_SCALE:
            raise wave.Error(f"samples of {width} bytes")
        raw = file.readframes(file.getnframes())
        rate = file.getframerate()
    raw = raw[: len(raw) - len(raw) % (width * channels)]
    samples = _from_24_bits(raw) if width == 3 else np.frombuffer(raw, {1: "u1", 2: "<i2", 4: "<i4"}[width])
    return (samples.reshape(-1, channels) if channels > 1 else samples), rate


def _from_24_bits(raw: bytes) -> Array:
    wide = np.zeros((len(raw) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
    return wide.view("<i4")[:, 0]


def _read_by_av(path: Path) -> tuple[Array, int]:
    try:
        import av
    except ImportError:
        raise DataError(
            f"{path} is not a PCM WAV file; other formats need PyAV: pip install 'ringline[video]'"
        ) from None
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise DataError(f"{path} has no sound in it")
            frames = [_interleaved(frame) for frame in container.decode(audio=0)]
            rate = container.streams.audio[0].rate
    except av.FFmpegError as error:
        raise DataError(f"{path} can't be read as sound: {error}") from None
    if not frames:
        raise DataError(f"{path} has no samples in it")
    samples = np.concatenate(frames)
    return (samples[:, 0] if samples.shape[1] == 1 else samples), int(rate)


def _interleaved(frame: Any) -> Array:
    samples: Array = frame.to_ndarray()
    if frame.format.is_planar:
        return samples.T
    return samples.reshape(-1, len(frame.layout.channels))
