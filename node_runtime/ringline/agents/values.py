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


PLAIN: Final = frozenset((type(None), bool, int, float, str))
"""Values that are carried as they are."""


def pack(value: Any) -> bytes:
    """Give the bytes of a value: None, bool, numbers, str, lists, tuples (become lists), dicts with str keys, arrays.

    Raises `DataError` that names the type which can't be carried.
    """
    if type(value) in PLAIN:
        text = _encoded(value)
        return _LENGTH.pack(len(text)) + text
    arrays: list[Array] = []
    offset = 0

    def plain(found: Any) -> Any:
        nonlocal offset
        if isinstance(found, np.generic):
            return found.item()
        _check_array(found)
        where = offset
        arrays.append(np.ascontiguousarray(found))
        offset += -(-found.nbytes // _ALIGN) * _ALIGN
        return {_ARRAY: [found.dtype.str, list(found.shape), where]}

    text = _encoded(value, plain)
    if not arrays:
        return _LENGTH.pack(len(text)) + text
    parts: list[Any] = [_LENGTH.pack(len(text)), text, b"\0" * (-(len(text) + _LENGTH.size) % _ALIGN)]
    for array in arrays:
        parts += [array.data if array.size else b"", b"\0" * (-array.nbytes % _ALIGN)]
    return b"".join(parts)


def copied(value: Any) -> Any:
    """Give what `unpack(pack(value))` gives, without the bytes between where that is quicker. Raises `DataError`."""
    if type(value) in PLAIN:
        return value
    try:
        return _copied(value)
    except (TypeError, RecursionError) as error:
        raise _unsendable(error) from None


def _copied(value: Any) -> Any:
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is np.ndarray:
        _check_array(value)
        return np.array(value, order="C")
    if kind is list or kind is tuple:
        return [_copied(each) for each in value] if len(value) <= _FEW else unpack(pack(value))
    if kind is dict and len(value) <= _FEW and _ARRAY not in value and all(type(key) is str for key in value):
        return {key: _copied(each) for key, each in value.items()}
    return unpack(pack(value))


_FEW: Final = 100
"""Longer ones are quicker through JSON."""
_encode = json.JSONEncoder(separators=(",", ":")).encode


def _encoded(value: Any, plain: Callable[[Any], Any] | None = None) -> bytes:
    try:
        text = _encode(value) if plain is None else json.dumps(value, default=plain, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _unsendable(error) from None


def _check_array(found: Any) -> None:
    if not isinstance(found, np.ndarray):
        raise TypeError(f"{type(found).__module__}.{type(found).__qualname__}")
    if found.dtype.kind not in _KINDS:
        raise TypeError(f"an array of {found.dtype}")


def _unsendable(error: Exception) -> DataError:
    return DataError(f"a value can't be sent: {error}; use JSON values and numeric arrays")


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
