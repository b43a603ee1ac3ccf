"""How a host and its zygote speak over their socket pair: a length, a JSON header, and a body if the header says so.

Four bytes (little-endian) give the header's length; ``header["body"]`` is the number of raw bytes that follow it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ringline.errors import ControlError

MAX_HEADER: Final = 1 << 20
MAX_BODY: Final = 64 << 10
_LENGTH: Final = struct.Struct("<I")


def encode(header: Mapping[str, Any], body: bytes = b"") -> bytes:
    """Give one frame; `body` adds its own length to the header."""
    full = {**header, "body": len(body)} if body else header
    data = json.dumps(full, separators=(",", ":")).encode()
    if len(data) > MAX_HEADER or len(body) > MAX_BODY:
        raise ControlError(f"a frame with a header of {len(data)} and a body of {len(body)} bytes is too large")
    return _LENGTH.pack(len(data)) + data + body


class Decoder:
    """Cuts a byte stream into frames, however it arrives."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Add bytes and give every frame that is whole. ControlError for what no zygote or host writes."""
        self._data += data
        while True:
            frame = self._next()
            if frame is None:
                return
            yield frame

    def _next(self) -> tuple[dict[str, Any], bytes] | None:
        data = self._data
        if len(data) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(data)
        if length > MAX_HEADER:
            raise ControlError(f"a frame's header has {length} bytes, at most {MAX_HEADER} are allowed")
        start = _LENGTH.size + length
        if len(data) < start:
            return None
        header, size = _header(bytes(data[_LENGTH.size : start]))
        if len(data) < start + size:
            return None
        body = bytes(data[start : start + size])
        del data[: start + size]
        return header, body


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    try:
        header = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ControlError(f"a frame's header is not JSON: {error}") from None
    size = header.get("body", 0) if isinstance(header, dict) else None
    if not isinstance(size, int) or not 0 <= size <= MAX_BODY:
        raise ControlError("a frame's header is not an object with a body of at most 64 KiB")
    return header, size
