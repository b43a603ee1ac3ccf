"""The short ways to make a message: `RuntimeData.audio(…)` and its siblings.

Inherited by `RuntimeData`, kept here so that its own file shows what a message is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ringline.data import arrays
from ringline.data.types import AudioMetadata, DataType, Metadata, TensorMetadata, TextMetadata, VideoMetadata
from ringline.errors import DataError

_SAMPLE_FORMATS = {
    np.dtype(name): short
    for name, short in {"float32": "f32", "float64": "f64", "int16": "i16", "int32": "i32", "uint8": "u8"}.items()
}
"""By dtype: a dtype's name takes numpy longer to spell than all else that makes a message."""


class Factories:
    """What makes a message in one call.

    Each takes `session_id`, `timestamp` (ns) and, where there is metadata, `extra` (a mapping of JSON values) beside what it
    names.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def __init__(
            self,
            type: DataType | str,  # noqa: A002
            payload: Any,
            session_id: str = "",
            timestamp: int | None = None,
            metadata: Metadata | Mapping[str, Any] | None = None,
        ) -> None: ...

    @classmethod
    def audio(
        cls,
        samples: Any,
        sample_rate: int,
        channels: int = 1,
        *,
        layout: str = "interleaved",
        format: str | None = None,  # noqa: A002  (the field's name)
        duration_ns: int | None = None,
        session_id: str = "",
        timestamp: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make an audio message from samples: an array, or a sequence of numbers (stored as float32). `sample_rate` in Hz.

        `channels` may be left out when the array's shape says it: (n, channels) interleaved, (channels, n) planar.
        """
        array = samples if isinstance(samples, np.ndarray) else _numbers(samples)
        if channels == 1 and array.ndim == 2:
            channels = array.shape[1 if layout == "interleaved" else 0] or 1
        metadata = AudioMetadata(
            sample_rate,
            channels,
            format or _SAMPLE_FORMATS.get(array.dtype) or array.dtype.name,
            layout,
            duration_ns,
            extra=extra or {},
        )
        return cls(DataType.AUDIO, array, session_id, timestamp, metadata)

    @classmethod
    def video(
        cls,
        frame: arrays.Array,
        *,
        fps: float = 0.0,
        format: str | None = None,  # noqa: A002  (the field's name)
        session_id: str = "",
        timestamp: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make a video message from one picture: (height, width, 3) is bgr24, (h, w, 4) bgra, (h, w) gray unless `format` says else.

        For yuv420p the array is (height * 3 / 2, width), as OpenCV and FFmpeg have it.
        """
        shape = np.shape(frame)
        if len(shape) not in (2, 3):
            raise DataError(f"a picture has the shape (height, width) or (height, width, channels), not {shape}")
        colours = shape[2] if len(shape) == 3 else 1
        name = format or {1: "gray", 3: "bgr24", 4: "bgra"}.get(colours)
        if name is None:
            raise DataError(f"a picture with {colours} channels has no usual pixel format; give format=")
        height = shape[0] * 2 // 3 if name in ("yuv420p", "nv12") else shape[0]
        metadata = VideoMetadata(shape[1], height, name, fps, extra=extra or {})
        return cls(DataType.VIDEO, frame, session_id, timestamp, metadata)

    @classmethod
    def text(
        cls,
        text: str,
        *,
        language: str = "",
        final: bool = True,
        session_id: str = "",
        timestamp: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make a text message; `final=False` marks a partial result that a later message replaces."""
        return cls(DataType.TEXT, text, session_id, timestamp, TextMetadata(language, final, extra=extra or {}))

    @classmethod
    def tensor(
        cls,
        array: Any,
        *,
        names: tuple[str, ...] = (),
        session_id: str = "",
        timestamp: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make a tensor message from an array or anything that numpy can make one of."""
        return cls(DataType.TENSOR, array, session_id, timestamp, TensorMetadata(names, extra=extra or {}))

    @classmethod
    def arrays(
        cls,
        arrays: Mapping[str, Any] | Sequence[Any],
        *,
        session_id: str = "",
        timestamp: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make one message of several arrays by name, of any shapes and dtypes; a list or tuple is named by numbers from "0".

        They travel in one block, so they arrive together or not at all. At most 256, names of at most 200 bytes.
        """
        return cls(DataType.ARRAYS, arrays, session_id, timestamp, Metadata(extra=extra) if extra else None)

    @classmethod
    def json(cls, value: Any, *, session_id: str = "", timestamp: int | None = None) -> Self:
        """Make a message that holds a JSON value."""
        return cls(DataType.JSON, value, session_id, timestamp)

    @classmethod
    def binary(cls, data: Any, *, session_id: str = "", timestamp: int | None = None) -> Self:
        """Make a message of bytes without a meaning known to Ringline (an encoded picture, a document …)."""
        return cls(DataType.BINARY, data, session_id, timestamp)

    @classmethod
    def file(
        cls,
        path: str | bytes | os.PathLike[str],
        *,
        session_id: str = "",
        timestamp: int | None = None,
    ) -> Self:
        """Make a message that names a file; its content does not travel."""
        return cls(DataType.FILE, path, session_id, timestamp)

    @classmethod
    def control(
        cls,
        name: str,
        /,
        *,
        session_id: str = "",
        timestamp: int | None = None,
        **fields: Any,
    ) -> Self:
        """Make a message from node to node about the media, in line with it: its payload is ``{"name": name, **fields}``."""
        if "name" in fields:
            raise DataError("a control message's name is its first argument; choose another word for the field")
        return cls(DataType.CONTROL, {"name": name, **fields}, session_id, timestamp)


def _numbers(samples: Any) -> arrays.Array:
    try:
        return np.asarray(samples, np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"audio samples must be numbers: {error}") from None
