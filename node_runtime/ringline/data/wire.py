"""Metadata as bytes: the second part of what travels beside a payload (the first is `codec`'s).

All little-endian: one tag byte (the metadata class, or 0 for none; the top bit says that `extra` follows), the class's fixed
fields, its texts (one length byte each), then `extra` as JSON to the end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from ringline.data.payloads import dump_json, parse_json
from ringline.data.types import AudioMetadata, Metadata, TensorMetadata, TextMetadata, VideoMetadata
from ringline.errors import DataError

_EXTRA: Final = 0x80
_AUDIO: Final = struct.Struct("<IHBq")
_TAGGED_AUDIO: Final = struct.Struct("<BIHBq")
_VIDEO: Final = struct.Struct("<IId")
_LAYOUTS: Final = ("interleaved", "planar")
_NO_DURATION: Final = -1


def pack(metadata: Metadata | None) -> bytes:
    """Give the metadata's bytes, kept with the object when nothing in it can change. DataError if `extra` is not JSON."""
    if metadata is None:
        return b"\0"
    kept = metadata._wire  # noqa: SLF001  (the field is there for this module)
    if kept is not None:
        return kept
    write = _WRITERS.get(type(metadata))
    if write is None:
        raise DataError(f"a {type(metadata).__name__} can't be sent; put your own fields into `extra` of one of ours")
    if metadata.extra:
        return write(metadata, _EXTRA) + dump_json(dict(metadata.extra), "metadata extra")
    wire = write(metadata, 0)
    object.__setattr__(metadata, "_wire", wire)
    return wire


def unpack(wire: bytes) -> Metadata | None:
    """Read the metadata; DataError (never another error) for bytes that `pack` does not write."""
    if not wire:
        raise DataError("the metadata is cut off")
    tag = wire[0] & ~_EXTRA
    if tag >= len(_READERS):
        raise DataError(f"the metadata's class {tag} is unknown")
    cursor = _Cursor(wire)
    fields = _READERS[tag][1](cursor)
    extra = _read_extra(cursor) if wire[0] & _EXTRA else None
    if cursor.at != len(wire):
        raise DataError(f"the metadata has {len(wire) - cursor.at} bytes too many")
    if tag == 0:
        return None
    return _READERS[tag][0](**fields) if extra is None else _READERS[tag][0](**fields, extra=extra)


class _Cursor:
    """Reads a message's metadata from front to back, never past its end."""

    def __init__(self, wire: bytes) -> None:
        self.wire = wire
        self.at = 1

    def take(self, form: struct.Struct) -> tuple[Any, ...]:
        if len(self.wire) - self.at < form.size:
            raise DataError("the metadata is cut off")
        values = form.unpack_from(self.wire, self.at)
        self.at += form.size
        return values

    def byte(self) -> int:
        (value,) = self.take(_BYTE)
        return int(value)

    def text(self) -> str:
        length = self.byte()
        raw = self.wire[self.at : self.at + length]
        if len(raw) != length:
            raise DataError("the metadata is cut off")
        self.at += length
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise DataError("a text in the metadata is not UTF-8") from None


_BYTE: Final = struct.Struct("<B")


@lru_cache(256)
def _text(value: str) -> bytes:
    raw = value.encode()
    return bytes((len(raw),)) + raw


def _read_extra(cursor: _Cursor) -> dict[str, Any]:
    extra = parse_json(cursor.wire[cursor.at :], "metadata extra")
    if not isinstance(extra, dict):
        raise DataError("metadata extra is not a JSON object")
    cursor.at = len(cursor.wire)
    return extra


def _write_plain(_: Metadata, extra: int) -> bytes:
    return bytes((1 | extra,))


def _write_audio(metadata: AudioMetadata, extra: int) -> bytes:
    duration = _NO_DURATION if metadata.duration_ns is None else metadata.duration_ns
    planar = metadata.layout == "planar"
    fixed = _TAGGED_AUDIO.pack(2 | extra, metadata.sample_rate, metadata.channels, planar, duration)
    return fixed + _text(metadata.format)


def _read_audio(cursor: _Cursor) -> dict[str, Any]:
    rate, channels, layout, duration = cursor.take(_AUDIO)
    if layout >= len(_LAYOUTS):
        raise DataError(f"audio layout {layout} is unknown")
    return {
        "sample_rate": rate,
        "channels": channels,
        "layout": _LAYOUTS[layout],
        "duration_ns": None if duration == _NO_DURATION else duration,
        "format": cursor.text(),
    }


def _write_video(metadata: VideoMetadata, extra: int) -> bytes:
    return bytes((3 | extra,)) + _VIDEO.pack(metadata.width, metadata.height, metadata.fps) + _text(metadata.format)


def _read_video(cursor: _Cursor) -> dict[str, Any]:
    width, height, fps = cursor.take(_VIDEO)
    return {"width": width, "height": height, "fps": fps, "format": cursor.text()}


def _write_text(metadata: TextMetadata, extra: int) -> bytes:
    return bytes((4 | extra, bool(metadata.final))) + _text(metadata.language)


def _read_text(cursor: _Cursor) -> dict[str, Any]:
    return {"final": bool(cursor.byte()), "language": cursor.text()}


def _write_tensor(metadata: TensorMetadata, extra: int) -> bytes:
    return bytes((5 | extra, len(metadata.names))) + b"".join(map(_text, metadata.names))


def _read_tensor(cursor: _Cursor) -> dict[str, Any]:
    return {"names": tuple(cursor.text() for _ in range(cursor.byte()))}


_READERS: Final[tuple[tuple[type[Metadata], Callable[[_Cursor], dict[str, Any]]], ...]] = (
    (Metadata, lambda _: {}),
    (Metadata, lambda _: {}),
    (AudioMetadata, _read_audio),
    (VideoMetadata, _read_video),
    (TextMetadata, _read_text),
    (TensorMetadata, _read_tensor),
)
"""By tag: 0 is no metadata, 1 the plain one."""

_WRITERS: Final[dict[type[Metadata], Callable[[Any, int], bytes]]] = {
    Metadata: _write_plain,
    AudioMetadata: _write_audio,
    VideoMetadata: _write_video,
    TextMetadata: _write_text,
    TensorMetadata: _write_tensor,
}
