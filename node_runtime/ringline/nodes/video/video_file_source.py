"""Pictures from a video file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from ringline import DataType, NodeConfigError, RuntimeData, SourceNode, register_node
from ringline.data import video_frames
from ringline.nodes.pacing import PacedConfig, Pacer
from ringline.nodes.support import Ports, optional_library


class VideoFileSourceConfig(PacedConfig):
    path: str = Field(min_length=1, description="The file: MP4, MKV, WebM and what else FFmpeg reads.")
    format: Literal["bgr24", "rgb24", "gray"] = Field("bgr24", description="Pixel format of the output.")
    loop: bool = Field(default=False, description="Begin again at the end, for ever; timestamps go on.")
    max_frames: int = Field(0, ge=0, description="End after so many pictures; 0: at the end of the file.")


@register_node("video_file_source")
class VideoFileSource(SourceNode):
    """Reads a video file.

    No input. Output `video`: one picture per message, with its time in the file as timestamp, from 0 on. The stream ends with
    the file.

    Needs the extra `video`. Example::

        - {name: camera, type: video_file_source, config: {path: clip.mp4, pace: realtime}}
    """

    outputs: ClassVar[Ports] = {"video": DataType.VIDEO}
    Config = VideoFileSourceConfig
    extra = "video"
    options: VideoFileSourceConfig

    def initialize(self) -> None:
        optional_library("av", "video")
        if not Path(self.options.path).is_file():
            raise NodeConfigError(
                f"node '{self.node_id}' can't read the video file {self.options.path!r}: there is no such file"
            )

    async def produce(self) -> AsyncIterator[RuntimeData]:
        pacer = Pacer(self.options.pace)
        for count, frame in enumerate(self._frames(), start=1):
            await pacer.until(frame.timestamp)
            yield frame
            if count == self.options.max_frames:
                return

    def _frames(self) -> Iterator[RuntimeData]:
        """Give the file's pictures once or for ever; each pass begins one picture's time after the last one."""
        offset = 0
        while True:
            first, last, step = None, offset, 0
            for frame in video_frames(self.options.path, format=self.options.format):
                first = frame.timestamp if first is None else first
                time = frame.timestamp - first + offset
                last, step = time, time - last or step
                yield frame.with_(timestamp=time)
            if not self.options.loop or first is None:
                return
            offset = last + max(step, 1)
