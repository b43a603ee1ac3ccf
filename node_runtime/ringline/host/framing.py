"""Frames of an ingress connection: 4 bytes of length (little-endian), a JSON header, then the body that it announces.

Pure but for reading from a stream; used by the ingress, by `ringline send` and `recv`, and by whatever carries the same
frames over another transport. A header has an `op`; `data` carries one message with every field in words, so that a
client in any language can write one:

``{"op": "data", "type": "audio", "timestamp": 0, "dtype": "<f4", "shape": [480], "metadata": {"sample_rate": 48000}, "body": 1920}``

Audio, video and tensors need `dtype` and `shape`; text and JSON are UTF-8, binary is as it is. Whoever reads believes
nothing: lengths are bounded, and a header that doesn't fit its body is a `DataError`.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

import numpy as np

from ringline.data import DataType, RuntimeData
from ringline.data.arrays import DTYPES, MAX_DIMENSIONS, Layout
from ringline.data.payloads import FORMS
from ringline.data.types import Metadata
from ringline.errors import DataError

MAX_HEADER_BYTES: Final = 64 << 10
"""As much as a message's metadata may take."""
_LENGTH: Final = struct.Struct("<I")
_DTYPES: Final = {dtype.str: dtype for dtype in DTYPES.values()}
_MOST_BYTES: Final = (1 << 63) - 1

Header = dict[str, Any]


def pack(header: Mapping[str, Any], body: Any = b"") -> list[Any]:
    """Return the pieces of one frame, ready for `write`; the body is not copied."""
    size = memoryview(body).nbytes
    text = json.dumps({**header, "body": size} if size else dict(header), separators=(",", ":")).encode()
    if len(text) > MAX_HEADER_BYTES:
        raise DataError(f"a frame's header takes {len(text)} bytes, at most {MAX_HEADER_BYTES} are allowed")
    head = _LENGTH.pack(len(text)) + text
    return [head, memoryview(body).cast("B")] if size else [head]


def write(stream: asyncio.StreamWriter, pieces: list[Any]) -> None:
    """Write pieces of frames. Raises `ConnectionResetError` when the other end has gone.

    `writelines` fails with an AttributeError then, in Python 3.12 and later: it looks for what the loss has taken away.
    """
    if stream.is_closing():
        raise ConnectionResetError("the other end has gone")
    stream.writelines(pieces)


async def read(stream: asyncio.StreamReader, max_body_bytes: int) -> tuple[Header, bytes] | None:
    """Read one frame; None at the end of the stream between two frames.

    Raises `DataError` for a frame that is too long, cut off, or whose header is no JSON object with an `op`.
    """
    try:
        (length,) = _LENGTH.unpack(await stream.readexactly(_LENGTH.size))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise DataError("the connection ended within a frame") from None
        return None
    if length > MAX_HEADER_BYTES:
        raise DataError(f"a frame's header takes {length} bytes, at most {MAX_HEADER_BYTES} are allowed")
    try:
        header = parse_header(await stream.readexactly(length))
        size = body_bytes(header, max_body_bytes)
        return header, await stream.readexactly(size)
    except asyncio.IncompleteReadError:
        raise DataError("the connection ended within a frame") from None


def parse_header(text: bytes) -> Header:
    """Return a frame's header; `DataError` unless it is a JSON object with an `op`."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"a frame's header is not JSON: {error}") from None
    if not isinstance(header, dict) or not isinstance(header.get("op"), str):
        raise DataError('a frame\'s header must be a JSON object with an "op"')
    return header


def body_bytes(header: Header, most: int) -> int:
    """Return the length of the body that a header announces."""
    size = header.get("body", 0)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= most:
        raise DataError(f"a frame's body takes {size!r} bytes, at most {most} are allowed")
    return size


def message_frame(data: RuntimeData) -> list[Any]:
    """Return the pieces of the frame that carries a message."""
    header: Header = {"op": "data", "type": data.type.value, "timestamp": data.timestamp}
    if data.sequence is not None:
        header["sequence"] = data.sequence
    if isinstance(data.metadata, Metadata):
        header["metadata"] = metadata_to_mapping(data.metadata)
    payload = data.payload
    if FORMS[data.type.code].is_array:
        header |= {"dtype": payload.dtype.str, "shape": list(payload.shape)}
    body, _ = FORMS[data.type.code].write(payload)
    return pack(header, body)


def metadata_to_mapping(metadata: Metadata) -> dict[str, Any]:
    """Return metadata as JSON values; `extra` and absent fields are left out when empty."""
    values = {item.name: getattr(metadata, item.name) for item in fields(metadata) if item.init}
    values["extra"] = dict(values["extra"])
    return {name: value for name, value in values.items() if value not in (None, {}, ())}


def message(header: Header, body: bytes) -> RuntimeData:
    """Return the message in a `data` frame. `DataError` names what doesn't fit."""
    data_type = DataType(str(header.get("type")))
    form = FORMS[data_type.code]
    payload = form.read(body, _layout(header, len(body)) if form.is_array else None)
    metadata = header.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise DataError("a frame's metadata must be a JSON object")
    timestamp = header.get("timestamp", 0)
    if not isinstance(timestamp, int):
        raise DataError(f"a frame's timestamp is a whole number of nanoseconds, not {timestamp!r:.80}")
    return RuntimeData(data_type, payload, timestamp=timestamp, metadata=metadata)


def _layout(header: Header, size: int) -> Layout:
    dtype = _DTYPES.get(str(header.get("dtype")))
    shape = header.get("shape")
    if dtype is None:
        raise DataError(f"a frame's dtype {header.get('dtype')!r:.40} is not one of {', '.join(sorted(_DTYPES))}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(_is_dimension(n) for n in shape):
        raise DataError(f"a frame's shape {shape!r:.80} is not a list of sizes")
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes != size or math.prod(n for n in shape if n) * dtype.itemsize > _MOST_BYTES:
        raise DataError(f"a frame's shape {shape} of {dtype.str} takes {nbytes} bytes, its body has {size}")
    return Layout(np.dtype(dtype), tuple(shape), nbytes)


def _is_dimension(size: Any) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size >= 0
