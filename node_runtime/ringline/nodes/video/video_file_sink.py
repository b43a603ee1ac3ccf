"""Pictures into a video file."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from ringline import DataType, MultiprocessNode, NodeConfigError, RuntimeData, VideoMetadata, register_node
from ringline.data import VideoWriter
from ringline.nodes.support import BoxConfig, Ports
from ringline.nodes.video.pictures import Picture, bgr_of, opencv


class VideoFileSinkConfig(BoxConfig):
    path: str = Field(min_length=1, description="The file to write (.mp4, .mkv …); one that exists is replaced.")
    fps: float = Field(
        0.0, ge=0, le=1000, description="Rate to write for pictures without times of their own; 0: the first picture's."
    )
    codec: str | None = Field(
        None, max_length=60, description="FFmpeg's name of an encoder; absent: H.264 where there is one, else MPEG-4."
    )


@register_node("video_file_sink")
class VideoFileSink(MultiprocessNode):
    """Writes pictures to a video file, each at its timestamp.

    Input `video`; no output. The first picture decides the size (even numbers); others are scaled to it. The file appears with
    the first picture and is complete when the node ends; an .mkv file can also be played up to where a killed node came.

    Needs the extra `video`. Example::

        - {name: record, type: video_file_sink, config: {path: faces.mp4}}
    """

    inputs: ClassVar[Ports] = {"video": DataType.VIDEO}
    outputs: ClassVar[Ports] = {}
    Config = VideoFileSinkConfig
    extra = "video"
    options: VideoFileSinkConfig
    _writer: VideoWriter | None = None

    def initialize(self) -> None:
        self._cv2 = opencv()
        self._size = (0, 0)
        path = Path(self.options.path)
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise NodeConfigError(
                f"node '{self.node_id}' can't write {self.options.path!r}: name a file in a folder that exists"
            )

    def process(self, data: RuntimeData) -> None:
        picture = bgr_of(self, data, self._cv2)
        if self._writer is None:
            own = data.metadata.fps if isinstance(data.metadata, VideoMetadata) else 0.0
            self._writer = VideoWriter(self.options.path, fps=self.options.fps or own or 25.0, codec=self.options.codec)
            self._size = (max(2, picture.shape[1] // 2 * 2), max(2, picture.shape[0] // 2 * 2))
        self._writer.write(RuntimeData.video(self._fitted(picture), timestamp=data.timestamp))
        self.metrics.counter("written_frames").inc()

    def cleanup(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _fitted(self, picture: Picture) -> Picture:
        if (picture.shape[1], picture.shape[0]) == self._size:
            return picture
        scaled: Picture = self._cv2.resize(picture, self._size, interpolation=self._cv2.INTER_AREA)
        return scaled
