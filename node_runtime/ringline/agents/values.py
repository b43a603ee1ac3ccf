"""What agents are told and what they answer, as bytes: JSON values in which numpy arrays may stand anywhere.

Used for messages of a handle, steps of a pool, and values in shared state. An array is carried as its bytes, never as text;
nothing is ever unpickled. Any bytes may arrive, so `unpack` believes nothing.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from ringline.errors import DataError

_LENGTH: Final = struct.Struct("<I")
_ARRAY: Final = "~array"
_KINDS: Final = "biufc"
_ALIGN: Final = 16
Array = np.ndarray[Any, np.dtype[Any]]


def pack(value: Any) -> bytes:
    """Give the bytes of a value: None, bool, numbers, str, lists, tuples (become lists), dicts with str keys, arrays.

    Raises `DataError` that names the type which can't be carried.
    """
    arrays: list[Array] = []
    offset = 0

    def plain(found: Any) -> Any:
        nonlocal offset
        if isinstance(found, np.generic):
            return found.item()
        if not isinstance(found, np.ndarray):
            raise TypeError(f"{type(found).__module__}.{type(found).__qualname__}")
        if found.dtype.kind not in _KINDS:
            raise TypeError(f"an array of {found.dtype}")
        where = offset
        arrays.append(np.ascontiguousarray(found))
        offset += -(-found.nbytes // _ALIGN) * _ALIGN
        return {_ARRAY: [found.dtype.str, list(found.shape), where]}

    try:
        text = json.dumps(value, default=plain, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"a value can't be sent: {error}; use JSON values and numeric arrays") from None
    if not arrays:
        return _LENGTH.pack(len(text)) + text
    parts = [_LENGTH.pack(len(text)), text, b"\0" * (-(len(text) + _LENGTH.size) % _ALIGN)]
    for array in arrays:
        parts += [array.tobytes(), b"\0" * (-array.nbytes % _ALIGN)]
    return b"".join(parts)


def unpack(data: bytes | memoryview) -> Any:
    """Read a value back; arrays are copies that may be written to. Raises `DataError` for anything that is no packed value."""
    view = memoryview(data).cast("B")
    if len(view) < _LENGTH.size:
        raise DataError("a packed value is cut off")
    (length,) = _LENGTH.unpack_from(view)
    if length > len(view) - _LENGTH.size:
        raise DataError("a packed value is cut off")
    text = bytes(view[_LENGTH.size : _LENGTH.size + length])
    begin = _LENGTH.size + length
    body = view[begin + -begin % _ALIGN :]
    try:
        return json.loads(text, object_hook=_reader(body)) if _ARRAY.encode() in text else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"a packed value can't be read: {error}") from None


def _reader(body: memoryview) -> Callable[[dict[str, Any]], Any]:
    def read(found: dict[str, Any]) -> Any:
        if _ARRAY not in found or len(found) != 1:
            return found
        try:
            name, shape, offset = found[_ARRAY]
            kind = np.dtype(name)
        except (TypeError, ValueError):
            raise DataError("an array of a packed value has a bad header") from None
        if kind.kind not in _KINDS or not all(type(side) is int and side >= 0 for side in (*shape, offset)):
            raise DataError("an array of a packed value has a bad header")
        count = math.prod(shape)
        if offset + count * kind.itemsize > len(body):
            raise DataError("an array of a packed value is cut off")
        return np.frombuffer(body, kind, count, offset).reshape(shape).copy()

    return read
