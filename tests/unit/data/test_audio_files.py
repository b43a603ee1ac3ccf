"""Sound files: WAV by the standard library, others by PyAV, and clear words when a library is missing."""

from __future__ import annotations

import builtins
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringline.data.audio import as_float32, as_int16, load_audio_file, save_audio_file
from ringline.data.runtime_data import RuntimeData
from ringline.errors import DataError


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a library look as if it were not installed."""
    real = builtins.__import__

    def hide(library: str) -> None:
        def importing(name: str, *args: Any, **kwargs: Any) -> Any:
            if name == library:
                raise ImportError(name)
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", importing)

    return hide


def write_wav(path: Path, raw: bytes, width: int, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, 8000, 0, "NONE", ""))
        file.writeframes(raw)
    return path


@pytest.mark.parametrize(
    ("width", "raw", "expected"),
    [
        (1, bytes([128, 255, 0]), [0, 127 / 128, -1]),
        (2, np.array([0, 16384, -32768], "<i2").tobytes(), [0, 0.5, -1]),
        (3, b"\0\0\0" + b"\0\0\x40" + b"\0\0\x80", [0, 0.5, -1]),
        (4, np.array([0, 1 << 30, -(1 << 31)], "<i4").tobytes(), [0, 0.5, -1]),
    ],
)
def test_every_pcm_width_is_read_at_full_scale(tmp_path: Path, width: int, raw: bytes, expected: list[float]) -> None:
    data = load_audio_file(write_wav(tmp_path / "a.wav", raw, width))
    assert data.as_numpy().tolist() == expected
    assert (data.metadata.sample_rate, data.metadata.channels, data.metadata.format) == (8000, 1, "f32")


def test_two_channels_make_two_columns(tmp_path: Path) -> None:
    data = load_audio_file(write_wav(tmp_path / "a.wav", np.arange(6, dtype="<i2").tobytes(), 2, 2), dtype="int16")
    assert data.as_numpy().tolist() == [[0, 1], [2, 3], [4, 5]]
    assert (data.metadata.channels, data.metadata.format) == (2, "i16")


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    samples = np.linspace(-1, 0.9, 50, dtype=np.float32).reshape(25, 2)
    save_audio_file(tmp_path / "a.wav", RuntimeData.audio(samples, 22050))
    again = load_audio_file(tmp_path / "a.wav")
    assert np.abs(again.as_numpy() - samples).max() <= 0.5 / 32768
    assert again.metadata.sample_rate == 22050


def test_several_messages_are_saved_one_after_the_other(tmp_path: Path) -> None:
    parts = [RuntimeData.audio(np.full(3, n, np.int16), 8000) for n in range(3)]
    save_audio_file(tmp_path / "a.wav", iter(parts))
    assert load_audio_file(tmp_path / "a.wav", dtype="int16").as_numpy().tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_loud_and_impossible_samples_are_clipped() -> None:
    data = RuntimeData.audio(np.array([2.0, -2.0, np.inf, np.nan], np.float32), 8000)
    assert as_int16(data).tolist() == [32767, -32768, 32767, 0]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.array([128, 255], np.uint8), [0, 127 << 8]),
        (np.array([1 << 16, -(1 << 31)], np.int32), [1, -32768]),
        (np.array([1, -1], ">i2"), [1, -1]),
        (np.array([0.5], np.float64), [16384]),
    ],
)
def test_samples_of_other_dtypes_become_16_bit(samples: Any, expected: list[int]) -> None:
    assert as_int16(RuntimeData.audio(samples, 8000)).tolist() == expected


def test_planar_channels_are_interleaved_in_a_file() -> None:
    data = RuntimeData.audio(np.array([[1, 2, 3], [4, 5, 6]], np.int16), 8000, layout="planar")
    assert as_int16(data).ravel().tolist() == [1, 4, 2, 5, 3, 6]


@pytest.mark.parametrize("samples", [np.zeros(1, bool), np.zeros(1, np.complex64)])
def test_samples_without_a_full_scale_are_refused(samples: Any) -> None:
    with pytest.raises(DataError, match="no form in a WAV file"):
        as_int16(RuntimeData.audio(samples, 8000))
    with pytest.raises(DataError, match="no full scale"):
        as_float32(samples)


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "nothing to write"),
        ([RuntimeData.text("a")], "a text message can't be written to a sound file"),
        ([RuntimeData("audio", np.zeros(1))], "no AudioMetadata"),
        ([RuntimeData.audio([0.0], 8000), RuntimeData.audio([0.0], 16000)], "several formats"),
    ],
)
def test_what_makes_no_file_is_refused_and_writes_none(tmp_path: Path, messages: list[RuntimeData], says: str) -> None:
    with pytest.raises(DataError, match=says):
        save_audio_file(tmp_path / "a.wav", messages)
    assert not (tmp_path / "a.wav").exists()


def test_a_missing_file_is_an_ordinary_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_audio_file(tmp_path / "none.wav")


def test_a_file_cut_in_the_middle_gives_what_is_there(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.arange(4, dtype="<i2").tobytes(), 2)
    path.write_bytes(path.read_bytes()[:-3])
    assert load_audio_file(path, dtype="int16").as_numpy().tolist() == [0, 1]


@pytest.mark.parametrize("content", [b"", b"no sound", b"RIFF\0\0\0\0WAVE"])
def test_a_file_that_is_no_sound_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.wav"):
        load_audio_file(path)


def test_an_unknown_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'float64' is not one of"):
        load_audio_file(write_wav(tmp_path / "a.wav", b"\0\0", 2), dtype="float64")  # type: ignore[arg-type]


def test_another_sample_rate_is_resampled(tmp_path: Path) -> None:
    pytest.importorskip("soxr")
    path = write_wav(tmp_path / "a.wav", bytes(2 * 800), 2)
    data = load_audio_file(path, sample_rate=16000, dtype="int16")
    assert (data.as_numpy().size, data.metadata.sample_rate) == (1600, 16000)


def test_resampling_without_its_library_names_the_extra(tmp_path: Path, without: Any) -> None:
    without("soxr")
    with pytest.raises(DataError, match=r"pip install 'ringline\[audio\]'"):
        load_audio_file(write_wav(tmp_path / "a.wav", bytes(20), 2), sample_rate=16000)


def test_another_format_without_its_library_names_the_extra(tmp_path: Path, without: Any) -> None:
    (tmp_path / "a.flac").write_bytes(b"fLaC")
    without("av")
    with pytest.raises(DataError, match=r"a.flac is not a PCM WAV file; .*pip install 'ringline\[video\]'"):
        load_audio_file(tmp_path / "a.flac")


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_f32le"), ("a.flac", "flac")])
def test_other_formats_are_read_by_pyav(tmp_path: Path, name: str, codec: str) -> None:
    av = pytest.importorskip("av")
    samples = np.full((2, 800), 0.25, np.float32)
    sample_format = "fltp" if codec == "pcm_f32le" else "s16"
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=8000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(samples, "fltp", "stereo")
        frame.sample_rate = 8000
        resampler = av.AudioResampler({"fltp": "flt"}.get(sample_format, sample_format), "stereo", 8000)
        for part in (*resampler.resample(frame), None):
            container.mux(stream.encode(part))
    data = load_audio_file(tmp_path / name)
    assert data.as_numpy().shape == (800, 2)
    assert np.allclose(data.as_numpy(), 0.25, atol=1e-3)
    assert (data.metadata.sample_rate, data.metadata.channels) == (8000, 2)
