"""Several arrays in one block: how a message of type `arrays` is stored. Called by `payloads`.

The block begins with a head: version, number of arrays and length of the head (2, 2 and 4 bytes, little-endian), then for each
array its dtype code, number of dimensions and length of its name (1, 1 and 2 bytes), its dimensions (8 bytes each) and its
name in UTF-8. Then come the arrays in C order, each on a 64-byte line; their places follow from their sizes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np

from ringline.data import arrays
from ringline.data.arrays import DTYPE_CODES, DTYPES, MAX_DIMENSIONS, Array, Layout
from ringline.data.types import DataType
from ringline.errors import DataError

VERSION: Final = 1
LINE: Final = 64
"""Arrays begin on such a line: what vector instructions and other libraries want."""
MAX_ARRAYS: Final = 256
MAX_NAME_BYTES: Final = 200
MAX_HEAD_BYTES: Final = 1 << 17
"""256 arrays of 32 dimensions with the longest names fit."""
_HEAD: Final = struct.Struct("<HHI")
_ENTRY: Final = struct.Struct("<BBH")
_LARGEST: Final = 1 << 48

Arrays = Mapping[str, Array]


class Member(NamedTuple):
    """One array of a block: its name, its form, and where it begins."""

    name: str
    layout: Layout
    offset: int


def checked(payload: Any) -> Arrays:
    """Give a read-only mapping of what can travel; a list or tuple of arrays is named by numbers from "0".

    DataError for other payloads, for names that are empty, too long or not text, and for arrays that can't be sent.
    """
    if isinstance(payload, (list, tuple)):
        payload = {str(number): array for number, array in enumerate(payload)}
    if not isinstance(payload, Mapping):
        raise DataError(
            f"the payload of an arrays message must be a mapping from names to arrays, not {type(payload).__name__}"
        )
    if len(payload) > MAX_ARRAYS:
        raise DataError(
            f"an arrays message holds at most {MAX_ARRAYS} arrays, not {len(payload)}; send several messages"
        )
    for name in payload:
        if not isinstance(name, str) or not name or not name.isprintable() or len(name.encode()) > MAX_NAME_BYTES:
            raise DataError(f"an array's name is 1 to {MAX_NAME_BYTES} bytes of printable text, not {name!r:.60}")
    return MappingProxyType({name: arrays.check(array, DataType.ARRAYS) for name, array in payload.items()})


def size(payload: Arrays) -> int:
    """Bytes of the block that these arrays take."""
    at = _up(len(_head(payload)))
    for array in payload.values():
        at = _up(at) + array.nbytes
    return at


def write(payload: Arrays) -> bytearray:
    """Gather the arrays into one buffer as a block holds them."""
    head = _head(payload)
    block = bytearray(size(payload))
    block[: len(head)] = head
    at = _up(len(head))
    for array in payload.values():
        at = _up(at)
        if array.nbytes:
            np.ndarray(array.shape, array.dtype, block, at)[...] = array
        at += array.nbytes
    return block


def read(buffer: Any) -> Arrays:
    """Show the arrays of a block, read-only, not copied; each keeps the block.

    DataError where head and size do not agree, or two names are the same; the bytes between the arrays may be anything.
    """
    whole = memoryview(buffer).toreadonly()
    found: dict[str, Array] = {}
    for member in members(whole):
        if member.name in found:
            raise DataError(f"the block has two arrays named {member.name!r}")
        found[member.name] = arrays.view(_part(buffer, member), member.layout)
    return MappingProxyType(found)


def members(whole: memoryview) -> Iterator[Member]:
    """Parse a copy of the head (its writer may still change the block), and bound every array by the block."""
    if whole.nbytes < _HEAD.size:
        raise DataError("the block is too short for several arrays")
    version, count, length = _HEAD.unpack_from(whole)
    if version != VERSION or count > MAX_ARRAYS or not _HEAD.size <= length <= min(whole.nbytes, MAX_HEAD_BYTES):
        raise DataError(f"the block's head says version {version}, {count} arrays, {length} bytes")
    head = bytes(whole[:length])
    at, offset = _HEAD.size, _up(length)
    for _ in range(count):
        name, layout, at = _entry(head, at)
        offset = _up(offset)
        if offset + layout.nbytes > whole.nbytes:
            raise DataError(f"array {name!r} ends behind its block")
        yield Member(name, layout, offset)
        offset += layout.nbytes
    if at != length or offset != whole.nbytes:
        raise DataError("the block does not end where its arrays do")


def _entry(head: bytes, at: int) -> tuple[str, Layout, int]:
    if len(head) < at + _ENTRY.size:
        raise DataError("the block's head is cut off")
    code, dimensions, name_length = _ENTRY.unpack_from(head, at)
    at += _ENTRY.size
    dtype = DTYPES.get(code)
    if dtype is None or dimensions > MAX_DIMENSIONS or not 0 < name_length <= MAX_NAME_BYTES:
        raise DataError(f"the block has an array of dtype {code} with {dimensions} dimensions")
    end = at + 8 * dimensions + name_length
    if len(head) < end:
        raise DataError("the block's head is cut off")
    shape = struct.unpack_from(f"<{dimensions}Q", head, at)
    if math.prod(extent for extent in shape if extent) * dtype.itemsize > _LARGEST:
        raise DataError(f"the block has an array of the shape {shape}, which is too large")
    try:
        name = head[end - name_length : end].decode()
    except UnicodeDecodeError:
        raise DataError("the name of an array is not UTF-8") from None
    return name, Layout(dtype, shape, math.prod(shape) * dtype.itemsize), end


def _head(payload: Arrays) -> bytes:
    parts = []
    for name, array in payload.items():
        raw = name.encode()
        parts.append(_ENTRY.pack(DTYPE_CODES[array.dtype], array.ndim, len(raw)))
        parts += [struct.pack(f"<{array.ndim}Q", *array.shape), raw]
    body = b"".join(parts)
    return _HEAD.pack(VERSION, len(payload), _HEAD.size + len(body)) + body


def _part(buffer: Any, member: Member) -> memoryview:
    return memoryview(buffer).toreadonly()[member.offset : member.offset + member.layout.nbytes]


def _up(value: int) -> int:
    return -(-value // LINE) * LINE
