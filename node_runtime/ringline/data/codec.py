"""Messages to and from what a channel carries: a kind, up to 64 KiB of metadata bytes, and a payload.

The node runner and the host call `encode` before a commit and `decode` after each `next`. Anything can be in shared memory
that another process writes, so `decode` believes nothing: bad bytes give DataError and never an array larger than its block.

The metadata bytes, little-endian: version, flags (1: a session id follows), dtype code, number of dimensions, each
dimension in 8 bytes, the session id (2 bytes of length) if it is not the session's own, then `wire`'s part. Everything that
repeats from message to message is parsed once and kept.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final, NamedTuple

from ringline.data import wire
from ringline.data.arrays import DTYPE_CODES, DTYPES, MAX_DIMENSIONS, Layout
from ringline.data.payloads import FORMS
from ringline.data.runtime_data import (
    LEAST_TIME,
    MOST_TIME,
    RuntimeData,
    as_metadata,
    check_time,
    lease_bytes,
    received,
)
from ringline.data.types import BY_CODE, Metadata
from ringline.errors import DataError

VERSION: Final = 1
MAX_META_BYTES: Final = 64 << 10
_OTHER_SESSION: Final = 1
_HEAD: Final = struct.Struct("<BBBB")
_SHAPES: Final = tuple(struct.Struct(f"<{n}Q") for n in range(MAX_DIMENSIONS + 1))
_MAX_DIMENSION: Final = (1 << 63) - 1
_KEPT: Final = 256
_KEPT_BYTES: Final = 256


class Encoded(NamedTuple):
    """A message as a channel takes it: `payload` is any C-contiguous buffer; `copied` says that an array was not, before."""

    kind: int
    meta: bytes
    payload: Any
    copied: bool


def encode(data: RuntimeData, session_id: str = "") -> Encoded:
    """Prepare a message for a channel of the session `session_id`, whose own id is not written.

    DataError: a timestamp out of range, metadata over 64 KiB, a JSON value or text that can't be written.
    LeaseReleasedError: the message was released.
    """
    kind, meta = encode_meta(data, session_id)
    if data._lease is not None:  # noqa: SLF001
        data._refuse_released()  # noqa: SLF001
        return Encoded(kind, meta, data._lease, False)  # noqa: SLF001
    payload, copied = FORMS[kind].write(data.payload)
    return Encoded(kind, meta, payload, copied)


def encode_meta(data: RuntimeData, session_id: str = "") -> tuple[int, bytes]:
    """Kind and metadata bytes only: what a forward of the same block needs."""
    time = data.timestamp
    if time.__class__ is not int or not LEAST_TIME <= time <= MOST_TIME:
        check_time(time)
    kind = data.type.code
    head = _array_head(data._layout or data.payload) if FORMS[kind].is_array else _PLAIN_HEAD  # noqa: SLF001
    own = data.session_id
    if own and own != session_id:
        head = _with_session(head, own)
    metadata = data.metadata
    if metadata is not None and not isinstance(metadata, Metadata):
        metadata = as_metadata(data.type, metadata)  # somebody set the attribute to a plain mapping
    meta = head + wire.pack(metadata)
    if len(meta) > MAX_META_BYTES:
        raise DataError(
            f"the metadata takes {len(meta)} bytes, at most {MAX_META_BYTES} can be sent; move it to the payload"
        )
    return kind, meta


def forward_meta(data: RuntimeData, lease: Any, session_id: str = "") -> tuple[int, bytes]:
    """Give what `encode_meta` gives for a message that came in the block `lease`: the bytes that it came with, if nothing changed."""
    came: bytes | None = getattr(lease, "meta", None)
    parsed = _parsed.get(came) if came is not None else None
    if (
        parsed is None
        or came is None
        or parsed.metadata is not data.metadata
        or parsed.layout is not data._layout  # noqa: SLF001
        or data.session_id != (parsed.session_id or session_id)
        or data.type.code != lease.kind
        or data.timestamp != lease.timestamp
    ):
        return encode_meta(data, session_id)
    return data.type.code, came


_PLAIN_HEAD: Final = _HEAD.pack(VERSION, 0, 0, 0)
_heads: dict[tuple[Any, tuple[int, ...]], bytes] = {}


def _array_head(array: Any) -> bytes:
    key = (array.dtype, array.shape)
    head = _heads.get(key)
    if head is None:
        dtype, shape = key
        head = _HEAD.pack(VERSION, 0, DTYPE_CODES[dtype], len(shape)) + _SHAPES[len(shape)].pack(*shape)
        _keep(_heads, key, head)
    return head


def _with_session(head: bytes, session_id: str) -> bytes:
    raw = session_id.encode("utf-8", "surrogatepass")
    if len(raw) > 1024:
        raise DataError(f"the session id takes {len(raw)} bytes, at most 1024 can be sent")
    return bytes((head[0], head[1] | _OTHER_SESSION)) + head[2:] + struct.pack("<H", len(raw)) + raw


class _Parsed(NamedTuple):
    layout: Layout | None
    session_id: str
    metadata: Metadata | None


_parsed: dict[bytes, _Parsed] = {}


def decode(
    kind: int,
    meta: bytes,
    lease: Any,
    *,
    timestamp: int,
    origin: int = 0,
    sequence: int | None = None,
    port: str = "",
    session_id: str = "",
) -> RuntimeData:
    """Give the message in a block: a lease is any readable buffer with `release()`; `session_id` is the session's own.

    The payload is not touched before somebody asks for it. DataError for bytes that `encode` does not write; the lease is
    then still the caller's to release.
    """
    parsed = _parsed.get(meta) or _parse(meta)
    data_type = BY_CODE[kind] if 0 < kind < len(BY_CODE) else None
    if data_type is None:
        raise DataError(f"a message of kind {kind} is unknown")
    layout = parsed.layout
    if FORMS[kind].is_array != (layout is not None):
        raise DataError(f"a {data_type.value} message {'without' if layout is None else 'with'} a layout")
    if layout is not None and layout.nbytes != getattr(lease, "nbytes", -1) and layout.nbytes != lease_bytes(lease):
        raise DataError(f"the message says {layout.nbytes} bytes, its block has {lease_bytes(lease)}")
    own = parsed.session_id or session_id
    return received(data_type, parsed.metadata, lease, layout, own, timestamp, origin, sequence, port)


def _parse(meta: bytes) -> _Parsed:
    if len(meta) < _HEAD.size or len(meta) > MAX_META_BYTES:
        raise DataError(f"the metadata has {len(meta)} bytes")
    version, flags, dtype_code, dimensions = _HEAD.unpack_from(meta)
    if version != VERSION:
        raise DataError(f"the message has metadata of version {version}, this is version {VERSION}")
    if flags & ~_OTHER_SESSION:
        raise DataError(f"the metadata has unknown flags {flags:#x}")
    layout, at = _parse_layout(meta, dtype_code, dimensions)
    session_id = ""
    if flags & _OTHER_SESSION:
        session_id, at = _parse_session(meta, at)
    parsed = _Parsed(layout, session_id, wire.unpack(meta[at:]))
    if len(meta) <= _KEPT_BYTES and not (parsed.metadata and parsed.metadata.extra):
        _keep(_parsed, bytes(meta), parsed)
    return parsed


def _parse_layout(meta: bytes, dtype_code: int, dimensions: int) -> tuple[Layout | None, int]:
    at = _HEAD.size
    if not dtype_code:
        if dimensions:
            raise DataError("the metadata has a shape but no dtype")
        return None, at
    dtype = DTYPES.get(dtype_code)
    if dtype is None or dimensions > MAX_DIMENSIONS:
        raise DataError(f"the metadata has dtype {dtype_code} and {dimensions} dimensions")
    form = _SHAPES[dimensions]
    if len(meta) < at + form.size:
        raise DataError("the metadata's shape is cut off")
    shape = form.unpack_from(meta, at)
    # numpy multiplies the dimensions that are not zero, so those must stay in range as well.
    if math.prod(n for n in shape if n) * dtype.itemsize > _MAX_DIMENSION:
        raise DataError(f"the metadata's shape {shape} is too large")
    return Layout(dtype, shape, math.prod(shape) * dtype.itemsize), at + form.size


def _parse_session(meta: bytes, at: int) -> tuple[str, int]:
    raw = meta[at + 2 : at + 2 + int.from_bytes(meta[at : at + 2], "little")]
    if len(meta) < at + 2 or len(raw) != int.from_bytes(meta[at : at + 2], "little"):
        raise DataError("the metadata's session id is cut off")
    try:
        return raw.decode("utf-8", "surrogatepass"), at + 2 + len(raw)
    except UnicodeDecodeError:
        raise DataError("the metadata's session id is not UTF-8") from None


def _keep(table: dict[Any, Any], key: Any, value: Any) -> None:
    """Remember, with a bound: what changes with each message must not grow the table for ever."""
    if len(table) >= _KEPT:
        table.clear()
    table[key] = value
