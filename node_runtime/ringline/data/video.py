"""Video files to messages and back, by PyAV.

The file nodes and applications call it: `video_frames` reads picture by picture, `VideoWriter` writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from errno import ENOENT
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ringline.data.runtime_data import RuntimeData
from ringline.data.types import VideoMetadata
from ringline.errors import DataError

_NS: int = 1_000_000_000


def video_frames(path: str | os.PathLike[str], *, format: str = "bgr24") -> Iterator[RuntimeData]:  # noqa: A002
    """Give the file's pictures in order, each with its time in the file; shape (height, width, 3) for "bgr24" and "rgb24".

    Raises FileNotFoundError, or DataError for a file without pictures, an unknown pixel `format`, or if PyAV is missing.
    The file is closed when the iterator ends or is closed.
    """
    av = _av()
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.video:
                raise DataError(f"{os.fspath(path)} has no pictures in it")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            fps = float(stream.average_rate or 0)
            for number, frame in enumerate(container.decode(stream)):
                yield _message(frame, number, fps, format)
    except av.FFmpegError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DataError(f"{os.fspath(path)} can't be read as video: {error}") from None


def _message(frame: Any, number: int, fps: float, pixel_format: str) -> RuntimeData:
    try:
        picture = frame.to_ndarray(format=pixel_format)
    except ValueError as error:
        raise DataError(f"pictures can't be had in the format {pixel_format!r}: {error}") from None
    if frame.pts is not None and frame.time_base is not None:
        timestamp = int(frame.pts * frame.time_base * _NS)
    else:
        timestamp = int(number * _NS / fps) if fps else 0
    metadata = VideoMetadata(frame.width, frame.height, pixel_format, fps)
    return RuntimeData("video", picture, timestamp=timestamp, metadata=metadata)


class VideoWriter:
    """Writes pictures to a file (MP4, MKV … by its name); a context manager.

    `fps` is used for pictures that have no later time than the one before. `codec`: FFmpeg's name; the default is H.264 where
    the installed PyAV has it, MPEG-4 otherwise. The first picture decides the size; DataError for others, and if PyAV is
    missing.
    """

    def __init__(self, path: str | os.PathLike[str], *, fps: float = 25.0, codec: str | None = None) -> None:
        av = _av()
        if not fps > 0:
            raise DataError(f"a video file needs frames per second above 0, not {fps}")
        self._path = os.fspath(path)
        self._rate = Fraction(fps).limit_denominator(1001)
        self._codec = codec or ("libx264" if "libx264" in av.codec.codecs_available else "mpeg4")
        self._stream: Any = None
        self._last = -1
        self._first_ns: int | None = None
        if not Path(path).absolute().parent.is_dir():
            raise FileNotFoundError(ENOENT, "There is no such folder to write a video into", self._path)
        try:
            self._container = av.open(self._path, "w")
        except (ValueError, av.FFmpegError) as error:
            raise DataError(f"{self._path} can't be written as video: {error}") from None

    def write(self, data: RuntimeData) -> None:
        """Add one picture. DataError if it is not video or has another size than the first."""
        if data.type != "video" or not isinstance(data.metadata, VideoMetadata):
            raise DataError(f"a {data.type.value} message without VideoMetadata can't be written to a video file")
        picture, size = data.as_numpy(), (data.metadata.width, data.metadata.height)
        if self._stream is None:
            self._stream = self._open_stream(*size)
        if size != (self._stream.width, self._stream.height):
            raise DataError(
                f"{self._path} has pictures of {self._stream.width}x{self._stream.height}, not {size[0]}x{size[1]}"
            )
        try:
            frame = _av().VideoFrame.from_ndarray(picture, format=data.metadata.format)
        except ValueError as error:
            raise DataError(f"this picture is not what its format {data.metadata.format!r} says: {error}") from None
        frame.pts = self._next_pts(data.timestamp)
        frame.time_base = self._stream.codec_context.time_base
        self._container.mux(self._stream.encode(frame))

    def _open_stream(self, width: int, height: int) -> Any:
        if width % 2 or height % 2:
            raise DataError(f"video files need even picture sizes, not {width}x{height}; crop or scale before")
        try:
            stream = self._container.add_stream(self._codec, rate=self._rate)
        except ValueError as error:
            raise DataError(f"{self._path} can't be written with the codec {self._codec!r}: {error}") from None
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90_000)
        return stream

    def _next_pts(self, timestamp_ns: int) -> int:
        """Media time from the first picture on; pictures without times of their own follow at the file's rate."""
        if self._first_ns is None:
            self._first_ns = timestamp_ns
        pts = (timestamp_ns - self._first_ns) * 90_000 // _NS
        if pts <= self._last:
            pts = self._last + int(90_000 / self._rate)
        self._last = max(pts, 0)
        return self._last

    def close(self) -> None:
        """Write what the encoder still holds and close the file; harmless when repeated."""
        container, self._container = self._container, None
        if container is None:
            return
        if self._stream is not None:
            container.mux(self._stream.encode(None))
        container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise DataError("video files need PyAV: pip install 'ringline[video]'") from None
    return av
