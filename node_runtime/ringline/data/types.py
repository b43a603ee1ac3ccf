"""What a message can be (`DataType`) and what is known about it (the metadata classes).

Used by everything that handles media; needs no numpy, so that graphs can be checked and listed without it. Metadata is
immutable (`dataclasses.replace` makes a changed one): one object serves all messages of a stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from operator import index
from types import MappingProxyType
from typing import Any, Final

from ringline.errors import DataError

_USUAL_FORMATS: Final = ("f32", "i16")
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class DataType(StrEnum):
    """The kind of a message. `code` is its number on the wire."""

    AUDIO = "audio"
    VIDEO = "video"
    TEXT = "text"
    TENSOR = "tensor"
    JSON = "json"
    BINARY = "binary"
    FILE = "file"
    CONTROL = "control"
    ARRAYS = "arrays"

    code: int

    @classmethod
    def _missing_(cls, value: object) -> DataType:
        raise DataError(f"{value!r} is not a data type; the types are {', '.join(cls)}")


# An attribute, not a dict: an enum member's hash is slow, and this is asked for each message.
for _number, _member in enumerate(DataType, start=1):
    _member.code = _number

BY_CODE: Final[tuple[DataType | None, ...]] = (None, *DataType)
"""Data types by their number on the wire; 0 is none."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is known about a message of any type.

    `extra` holds the application's own fields: a mapping of JSON values, of at most some 60 KiB as JSON. It becomes read-only.
    """

    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING, hash=False, kw_only=True)
    # The wire form, kept by the codec as long as there is nothing in it that could still change.
    _wire: bytes | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _freeze_extra(self)


@dataclass(frozen=True, slots=True)
class AudioMetadata(Metadata):
    """Of samples: `sample_rate` in Hz, `channels`, and how a sample is stored.

    `format` is a name like "f32" or "i16" (the array's dtype decides; this is for readers of raw bytes). `layout` is
    "interleaved" (shape (n,) or (n, channels)) or "planar" (shape (channels, n)). `duration_ns` may be left out: it
    follows from the samples. DataError for a rate or number of channels that can't be.
    """

    sample_rate: int
    channels: int = 1
    format: str = "f32"
    layout: str = "interleaved"
    duration_ns: int | None = None

    def __post_init__(self) -> None:
        _freeze_extra(self)
        if not (self.sample_rate.__class__ is int and 0 < self.sample_rate <= 0xFFFF_FFFF):
            _whole(self, "sample_rate", self.sample_rate, 1, 0xFFFF_FFFF)
        if not (self.channels.__class__ is int and 0 < self.channels <= 0xFFFF):
            _whole(self, "channels", self.channels, 1, 0xFFFF)
        if self.layout not in ("interleaved", "planar"):
            raise DataError(f"audio layout {self.layout!r} is unknown; use 'interleaved' or 'planar'")
        if self.duration_ns is not None:
            _whole(self, "duration_ns", self.duration_ns, 0, (1 << 63) - 1)
        if self.format not in _USUAL_FORMATS:
            _text(self, "format", self.format)


@dataclass(frozen=True, slots=True)
class VideoMetadata(Metadata):
    """Of a picture: `width` and `height` in pixels, pixel `format` and frames per second.

    `format` is FFmpeg's name: bgr24, rgb24, gray, yuv420p …; `fps` 0 means unknown or not constant. DataError for a size that
    can't be.
    """

    width: int
    height: int
    format: str = "bgr24"
    fps: float = 0.0

    def __post_init__(self) -> None:
        _freeze_extra(self)
        _whole(self, "width", self.width, 0, 0xFFFF_FFFF)
        _whole(self, "height", self.height, 0, 0xFFFF_FFFF)
        _text(self, "format", self.format)
        try:
            object.__setattr__(self, "fps", float(self.fps))
        except (TypeError, ValueError):
            raise DataError(f"video fps {self.fps!r} is not a number") from None


@dataclass(frozen=True, slots=True)
class TextMetadata(Metadata):
    """Of text: `language` (a BCP 47 tag, or empty), and `final`: False for a partial result that a later one replaces."""

    language: str = ""
    final: bool = True

    def __post_init__(self) -> None:
        _freeze_extra(self)
        _text(self, "language", self.language)


@dataclass(frozen=True, slots=True)
class TensorMetadata(Metadata):
    """Of a tensor: `names` of its axes, in order; empty if they have none."""

    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _freeze_extra(self)
        object.__setattr__(self, "names", tuple(self.names))
        for name in self.names:
            _text(self, "names", name)
        if len(self.names) > 255:
            raise DataError(f"a tensor has at most 255 axis names, not {len(self.names)}")


_TYPED: Final[dict[DataType, type[Metadata]]] = {
    DataType.AUDIO: AudioMetadata,
    DataType.VIDEO: VideoMetadata,
    DataType.TEXT: TextMetadata,
    DataType.TENSOR: TensorMetadata,
}


def metadata_from_mapping(data_type: DataType, values: Mapping[str, Any]) -> Metadata:
    """Make the type's metadata from a plain mapping: known names become fields, all others go to `extra`.

    A mapping that lacks a required field (`sample_rate` …) becomes a plain `Metadata`. DataError for bad values.
    """
    typed = _TYPED.get(data_type, Metadata)
    known = {item.name: item for item in fields(typed) if item.init}
    given = {name: value for name, value in values.items() if name in known and name != "extra"}
    extra = {name: value for name, value in values.items() if name not in known}
    extra.update(values.get("extra") or {})
    try:
        return typed(**given, extra=extra)
    except TypeError:
        return Metadata(extra=given | extra)


def _freeze_extra(metadata: Metadata) -> None:
    extra = metadata.extra
    if extra is _NOTHING:
        return
    if not isinstance(extra, Mapping):
        raise DataError(f"metadata extra must be a mapping of JSON values, not {type(extra).__name__}")
    object.__setattr__(metadata, "extra", MappingProxyType(dict(extra)) if extra else _NOTHING)


def _whole(metadata: Metadata, name: str, value: Any, least: int, most: int) -> None:
    try:
        number = index(value)
    except TypeError:
        number = int(value) if isinstance(value, float) and value.is_integer() else least - 1
    if not least <= number <= most:
        raise DataError(
            f"{type(metadata).__name__}: {name} must be a whole number from {least} to {most}, not {value!r}"
        )
    if number is not value:
        object.__setattr__(metadata, name, number)


def _text(metadata: Metadata, name: str, value: Any) -> None:
    if not isinstance(value, str) or len(value) > 60 or not value.isprintable():
        raise DataError(f"{type(metadata).__name__}: {name} must be at most 60 printable characters, not {value!r:.80}")
