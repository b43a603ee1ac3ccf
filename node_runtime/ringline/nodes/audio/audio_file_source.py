"""Sound from a file, block by block, as if it were a microphone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

from pydantic import Field

from ringline import DataType, NodeConfigError, RuntimeData, SourceNode, register_node
from ringline.nodes.audio.samples import Frames, audio, duration_ns
from ringline.nodes.pacing import PacedConfig, Pacer
from ringline.nodes.support import Ports, optional_library


class AudioFileSourceConfig(PacedConfig):
    path: str = Field(min_length=1, description="The file: WAV, FLAC, OGG, MP3 and what else libsndfile reads.")
    block_ms: int = Field(20, ge=1, le=10_000, description="Length in ms of a message.")
    loop: bool = Field(default=False, description="Begin again at the end, for ever; timestamps go on.")


@register_node("audio_file_source")
class AudioFileSource(SourceNode):
    """Reads an audio file.

    No input. Output `audio`: float32 blocks of `block_ms` in the file's rate and channels, timestamps from 0. With
    `pace: realtime` (the default) they leave as a microphone would send them. The stream ends with the file.

    Needs the extra `audio`. Example::

        - {name: microphone, type: audio_file_source, config: {path: command.wav, pace: realtime, block_ms: 20}}
    """

    outputs: ClassVar[Ports] = {"audio": DataType.AUDIO}
    Config = AudioFileSourceConfig
    extra = "audio"
    options: AudioFileSourceConfig
    _file: Any = None

    def initialize(self) -> None:
        soundfile = optional_library("soundfile", "audio")
        try:
            self._file = soundfile.SoundFile(self.options.path)
        except (OSError, soundfile.LibsndfileError) as error:
            raise NodeConfigError(
                f"node '{self.node_id}' can't read the audio file {self.options.path!r}: {error}"
            ) from error
        if self.options.loop and not self._file.frames:
            raise NodeConfigError(f"node '{self.node_id}' can't loop {self.options.path!r}: it holds no sound")

    async def produce(self) -> AsyncIterator[RuntimeData]:
        rate, pacer, at = int(self._file.samplerate), Pacer(self.options.pace), 0
        for frames in self._blocks(max(1, rate * self.options.block_ms // 1000)):
            timestamp = duration_ns(at, rate)
            await pacer.until(timestamp)
            yield audio(frames, rate, timestamp)
            at += len(frames)

    def cleanup(self) -> None:
        if self._file is not None:
            self._file.close()

    def _blocks(self, size: int) -> Iterator[Frames]:
        while True:
            while len(frames := self._file.read(size, dtype="float32", always_2d=True)):
                yield frames
            if not self.options.loop:
                return
            self._file.seek(0)
