"""Sound into a WAV file that can be played at any moment, also while it is written and after a crash."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

from pydantic import Field

from ringline import DataError, DataType, MultiprocessNode, NodeConfigError, RuntimeData, register_node
from ringline.nodes.audio.rates import RateConverter
from ringline.nodes.audio.samples import Frames, sound_of, to_int16, with_channels
from ringline.nodes.support import BoxConfig, Ports

_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_LARGEST_BYTES = (1 << 32) - 64
"""WAV counts bytes in 32 bits."""


class AudioFileSinkConfig(BoxConfig):
    path: str = Field(min_length=1, description="The WAV file to write; one that exists is replaced.")
    format: Literal["i16", "f32"] = Field(
        "i16", description="How samples are stored: 16-bit integers or 32-bit floats."
    )


@register_node("audio_file_sink")
class AudioFileSink(MultiprocessNode):
    """Writes audio to a WAV file.

    Input `audio`; no output. The first message decides the file's rate and channels; later ones in another format are
    converted (rates by the extra `audio`). The header is right after every message, so the file is complete up to there even
    if the process is killed. Messages are put one behind the other; gaps between timestamps are not filled. The file appears
    with the first message.

    Example::

        - {name: record, type: audio_file_sink, config: {path: answer.wav}}
    """

    inputs: ClassVar[Ports] = {"audio": DataType.AUDIO}
    outputs: ClassVar[Ports] = {}
    Config = AudioFileSinkConfig
    options: AudioFileSinkConfig

    def initialize(self) -> None:
        folder = Path(self.options.path).resolve().parent
        if Path(self.options.path).is_dir():
            raise NodeConfigError(
                f"node '{self.node_id}' can't write {self.options.path!r}: it is a folder; name a file in it"
            )
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise NodeConfigError(
                f"node '{self.node_id}' can't write {self.options.path!r}: no writable folder {str(folder)!r}"
            )
        self._file: _WavFile | None = None
        self._converter: RateConverter | None = None

    def process(self, data: RuntimeData) -> None:
        sound = sound_of(self, data)
        if self._file is None:
            self._file = _WavFile(self.options.path, sound.rate, sound.frames.shape[1], self.options.format)
        frames = with_channels(sound.frames, self._file.channels)
        if self._converter is None or not self._converter.fits(sound.rate, self._file.channels):
            self._finish_conversion()
            self._converter = RateConverter(sound.rate, self._file.rate, self._file.channels)
        self._file.append(self._converter.feed(frames))
        self.metrics.gauge("written_bytes").set(self._file.data_bytes)

    def on_end(self) -> None:
        self._finish_conversion()

    def on_flush(self) -> None:
        self._converter = None

    def cleanup(self) -> None:
        file, self._file = getattr(self, "_file", None), None
        if file is not None:
            file.close()

    def _finish_conversion(self) -> None:
        if self._converter is not None and self._file is not None:
            self._file.append(self._converter.finish())
        self._converter = None


class _WavFile:
    """A WAV file whose header follows its length."""

    def __init__(self, path: str, rate: int, channels: int, form: str) -> None:
        self.rate, self.channels, self.data_bytes = rate, channels, 0
        self._encode: Callable[[Frames], Any] = to_int16 if form == "i16" else lambda frames: frames.astype("<f4")
        self._sample_bytes = 2 if form == "i16" else 4
        self._file: BinaryIO = Path(path).open("wb", buffering=0)  # noqa: SIM115  (closed by close)
        self._write_header()

    def append(self, frames: Frames) -> None:
        """Write samples, then the header that counts them: a kill between the two loses only these."""
        raw = self._encode(frames).tobytes()
        if self.data_bytes + len(raw) > _LARGEST_BYTES:
            raise DataError(f"{self._file.name} has reached 4 GiB, the most that a WAV file can hold")
        _write_all(self._file.fileno(), raw, _HEADER.size + self.data_bytes)
        self.data_bytes += len(raw)
        self._write_header()

    def close(self) -> None:
        self._file.close()

    def _write_header(self) -> None:
        frame_bytes = self._sample_bytes * self.channels
        header = _HEADER.pack(
            b"RIFF", 36 + self.data_bytes, b"WAVE",
            b"fmt ", 16, 1 if self._sample_bytes == 2 else 3, self.channels, self.rate, self.rate * frame_bytes,
            frame_bytes, self._sample_bytes * 8,
            b"data", self.data_bytes,
        )  # fmt: skip
        os.pwrite(self._file.fileno(), header, 0)


def _write_all(descriptor: int, raw: bytes, at: int) -> None:
    view = memoryview(raw)
    while view:
        done = os.pwrite(descriptor, view, at)
        view, at = view[done:], at + done
