"""Files as messages and messages as files: what `run --input/--output`, `send` and `recv` read and write.

The file's suffix decides, where a channel declares no data type. Reading is lazy, block by block; writing keeps no more
than one message.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

from ringline.errors import DataError

if TYPE_CHECKING:
    from ringline.data import RuntimeData
    from ringline.data.video import VideoWriter

AUDIO: Final = frozenset((".wav", ".flac", ".ogg", ".oga", ".mp3", ".m4a", ".aac", ".opus"))
VIDEO: Final = frozenset((".mp4", ".mkv", ".avi", ".webm", ".mov", ".m4v"))
JSON: Final = frozenset((".json", ".jsonl", ".ndjson"))
TEXT: Final = frozenset((".txt", ".md", ".csv", ".log"))
STDIO: Final = "-"
NS: Final = 1_000_000_000


def kind_of(path: str, declared: str) -> str:
    """Return the data type of a file's messages: the channel's own if it declares one, else by the suffix."""
    if declared not in ("", "any"):
        return declared
    suffix = Path(path).suffix.lower()
    for kind, suffixes in (("audio", AUDIO), ("video", VIDEO), ("json", JSON), ("text", TEXT)):
        if suffix in suffixes:
            return kind
    return "text" if path == STDIO else "binary"


def check_input(path: str) -> None:
    """Refuse, before anything is started, a file that can't be read: `DataError` says why. A pipe will do (``<(command)``)."""
    if path == STDIO:
        return
    if not Path(path).exists():
        raise DataError(f"there is no file {path}")
    if Path(path).is_dir() or not os.access(path, os.R_OK):
        raise DataError(f"{path} can't be read: {'it is a folder' if Path(path).is_dir() else 'its mode forbids it'}")


def check_output(path: str) -> None:
    """Refuse, before anything is started, a file that can't be written: `DataError` says why."""
    if path == STDIO:
        return
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise DataError(f"{path} can't be written: there is no folder {folder}; make it first")
    if Path(path).is_dir() or not os.access(path if Path(path).exists() else folder, os.W_OK):
        raise DataError(f"{path} can't be written: {'it is a folder' if Path(path).is_dir() else 'a mode forbids it'}")


def read_messages(path: str, declared: str, *, block_ms: float = 20.0) -> Iterator[RuntimeData]:
    """Read a file (or ``-``, stdin) as messages: audio in blocks, video by picture, text and JSON by line.

    Raises `DataError` for a file that isn't what the channel takes, `OSError` if it can't be read.
    """
    from ringline.data import RuntimeData
    from ringline.data.video import video_frames

    kind = kind_of(path, declared)
    check_input(path)
    if kind == "audio":
        yield from _audio_blocks(path, block_ms)
    elif kind == "video":
        yield from video_frames(path)
    elif kind == "text":
        yield from (RuntimeData.text(line) for line in _lines(path))
    elif kind in ("json", "control"):
        yield from (RuntimeData(kind, value) for value in _values(path))
    elif kind == "file":
        yield RuntimeData.file(path)
    elif kind == "binary":
        yield RuntimeData.binary(b"".join(_stdin()) if path == STDIO else Path(path).read_bytes())
    else:
        raise DataError(f"{path}: no file holds {kind} messages; send them from Python")


def _audio_blocks(path: str, block_ms: float) -> Iterator[RuntimeData]:
    from ringline.data import RuntimeData, load_audio_file
    from ringline.data.audio import read_wav_bytes

    sound = read_wav_bytes(b"".join(_stdin())) if path == STDIO else load_audio_file(path)
    samples, rate = sound.as_numpy(), sound.metadata.sample_rate
    step = max(1, round(rate * block_ms / 1000))
    for start in range(0, len(samples), step):
        timestamp = start * NS // rate
        yield RuntimeData.audio(samples[start : start + step], rate, sound.metadata.channels, timestamp=timestamp)


def _lines(path: str) -> Iterator[str]:
    try:
        if path == STDIO:
            yield from (line.decode().rstrip("\r") for line in _stdin_lines())
            return
        with Path(path).open(encoding="utf-8") as file:
            yield from (line.rstrip("\n") for line in file)
    except UnicodeDecodeError as error:
        raise DataError(f"{'stdin' if path == STDIO else path} is not UTF-8 text: {error}") from None


def _stdin_lines() -> Iterator[bytes]:
    rest = b""
    for piece in _stdin():
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _stdin() -> Iterator[bytes]:
    # Not through sys.stdin, whose lock the interpreter wants at its end, when a feed may still wait for a line.
    descriptor = sys.stdin.fileno()
    while piece := os.read(descriptor, 1 << 16):
        yield piece


def _values(path: str) -> Iterator[Any]:
    whole = Path(path).suffix.lower() == ".json"
    for number, text in enumerate(["\n".join(_lines(path))] if whole else _lines(path), start=1):
        try:
            yield json.loads(text)
        except ValueError as error:
            raise DataError(f"{path}: {'' if whole else f'line {number}: '}no JSON: {error}") from None


class Writer(Protocol):
    """Takes the messages of one output."""

    def write(self, data: RuntimeData) -> None:
        """Add a message; `DataError` if the file can't hold it."""

    def close(self) -> None:
        """Finish the file."""


def open_writer(path: str) -> Writer:
    """Return the writer for a file's suffix; ``-`` prints text and JSON to stdout. Files are made with the first message."""
    return _LineWriter(path, as_json=False) if path == STDIO else _Named(path, _writer(path))


class _Named:
    """A writer that says which file it is that the system refuses: `DataError`."""

    def __init__(self, path: str, writer: Writer) -> None:
        self._path = path
        self._writer = writer

    def write(self, data: RuntimeData) -> None:
        with self._naming():
            self._writer.write(data)

    def close(self) -> None:
        with self._naming():
            self._writer.close()

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(f"{self._path} can't be written: {error.strerror or error}") from None


def _writer(path: str) -> Writer:
    suffix = Path(path).suffix.lower()
    if suffix in TEXT:
        return _LineWriter(path, as_json=False)
    if suffix in JSON:
        return _LineWriter(path, as_json=True)
    if suffix == ".wav":
        return _WaveWriter(path)
    if suffix in VIDEO:
        return _PictureWriter(path)
    if suffix in AUDIO:
        raise DataError(f"{path}: sound is written as .wav; convert it afterwards")
    return _RawWriter(path)


class _WaveWriter:
    def __init__(self, path: str) -> None:
        self._path = path
        self._file: wave.Wave_write | None = None
        self._format = (0, 0)

    def write(self, data: RuntimeData) -> None:
        from ringline.data.audio import as_int16

        if data.type != "audio" or not hasattr(data.metadata, "sample_rate"):
            raise DataError(f"{self._path}: a {data.type.value} message can't be written to a sound file")
        found = (data.metadata.sample_rate, data.metadata.channels)
        if self._file is None:
            self._file, self._format = self._open(*found), found
        if found != self._format:
            raise DataError(f"{self._path}: the sound changed from {self._format} to {found} (rate, channels)")
        self._file.writeframes(as_int16(data).tobytes())

    def _open(self, rate: int, channels: int) -> wave.Wave_write:
        file = wave.open(self._path, "wb")  # noqa: SIM115  (closed by close)
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        return file

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _LineWriter:
    def __init__(self, path: str, *, as_json: bool) -> None:
        self._path = path
        self._as_json = as_json
        self._file: TextIO | None = None

    def write(self, data: RuntimeData) -> None:
        if self._file is None:
            self._file = sys.stdout if self._path == STDIO else Path(self._path).open("w", encoding="utf-8")  # noqa: SIM115
        self._file.write(json_text(data) if self._as_json else plain_text(data))
        self._file.write("\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not None and self._file is not sys.stdout:
            self._file.close()


def plain_text(data: RuntimeData) -> str:
    """Return a message as a line of text: text as it is, JSON compact. `DataError` for media."""
    if data.type in ("json", "control"):
        return json.dumps(data.as_json(), ensure_ascii=False)
    if data.type in ("text", "file"):
        return data.as_text()
    raise DataError(f"a {data.type.value} message is no text; give the output a file such as .wav, .mp4 or .jsonl")


def json_text(data: RuntimeData) -> str:
    """Return a message as one JSON object: its fields, and its payload where that is text or JSON."""
    from ringline.data.types import Metadata
    from ringline.host.framing import metadata_to_mapping

    value: dict[str, Any] = {"type": data.type.value, "timestamp": data.timestamp, "bytes": data.size()}
    if isinstance(data.metadata, Metadata):
        value["metadata"] = metadata_to_mapping(data.metadata)
    if data.type in ("json", "control", "text", "file"):
        value["payload"] = data.payload
    return json.dumps(value, ensure_ascii=False)


class _PictureWriter:
    def __init__(self, path: str) -> None:
        self._path = path
        self._writer: VideoWriter | None = None

    def write(self, data: RuntimeData) -> None:
        from ringline.data.video import VideoWriter

        if self._writer is None:
            self._writer = VideoWriter(self._path, fps=getattr(data.metadata, "fps", 0.0) or 25.0)
        self._writer.write(data)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _RawWriter:
    def __init__(self, path: str) -> None:
        self._path = path
        self._file: Any = None

    def write(self, data: RuntimeData) -> None:
        from ringline.data.codec import encode

        if self._file is None:
            self._file = Path(self._path).open("wb")  # noqa: SIM115  (closed by close)
        self._file.write(encode(data).payload)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
