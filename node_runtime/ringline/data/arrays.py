"""numpy arrays as payloads: which ones can travel, and how they are seen in a block without a copy.

Called by `payloads` and `codec`. A dtype travels as one byte: its number here, and the top bit for big-endian.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from ringline.data.types import DataType
from ringline.errors import DataError

Array = np.ndarray[Any, Any]
"""An array of any shape and dtype; what can travel is decided when a message is made."""

MAX_DIMENSIONS: Final = 32
_BIG_ENDIAN: Final = 0x80
_NAMES: Final = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16", "?")
"""The allow-list. The order is the wire's: add at the end, never reorder."""


def _both_orders() -> dict[int, np.dtype[Any]]:
    found = {}
    for code, name in enumerate(_NAMES, start=1):
        found[code] = np.dtype(f"<{name}")
        if found[code].itemsize > 1:
            found[code | _BIG_ENDIAN] = np.dtype(f">{name}")
    return found


DTYPES: Final = _both_orders()
DTYPE_CODES: Final = {dtype: code for code, dtype in DTYPES.items()}


class Layout(NamedTuple):
    """How a block's bytes are an array (C order)."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    nbytes: int


def check(payload: Any, data_type: DataType) -> Array:
    """Give the payload as an array that can travel; a list or another array-like is converted.

    DataError for dtypes that are not on the allow-list (object, structured, text, dates, long double).
    """
    array = payload if payload.__class__ is np.ndarray else _convert(payload, _name(data_type))
    if array.dtype not in DTYPE_CODES:
        raise DataError(f"{_name(data_type)} of dtype {array.dtype} can't be sent; {_advice(array.dtype)}")
    if array.ndim > MAX_DIMENSIONS:
        raise DataError(f"{_name(data_type)} has {array.ndim} dimensions, at most {MAX_DIMENSIONS} can be sent")
    return array


def _name(data_type: DataType) -> str:
    return f"the payload of a {data_type.value} message"


def _convert(payload: Any, what: str) -> Array:
    if payload is None or isinstance(payload, (str, dict)):
        raise DataError(f"{what} must be a numpy array, not {type(payload).__name__}")
    if isinstance(payload, np.ma.MaskedArray):
        raise DataError(f"{what} is a masked array, whose mask would be lost; use .filled() first")
    if isinstance(payload, (bytes, bytearray)):
        raise DataError(
            f"{what} is bytes, which have no dtype; use numpy.frombuffer(payload, dtype), or send a binary message"
        )
    try:
        return np.asarray(payload).view(np.ndarray)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} can't become a numpy array: {error}") from None


def _advice(dtype: np.dtype[Any]) -> str:
    if dtype.names:
        return "send one message per field, or the bytes as binary"
    if dtype.kind in "mM":
        return "use .view('int64')"
    if dtype.kind in "fc":
        return "use .astype('float64') or 'complex128'"
    return "use numbers or booleans (object and text dtypes would need unsafe serialisation)"


def contiguous(array: Array) -> tuple[Array, bool]:
    """Give the array in C order, and whether that took a copy."""
    if array.flags.c_contiguous:
        return array, False
    return np.ascontiguousarray(array), True


def view(buffer: Any, layout: Layout) -> Array:
    """Show the array in the buffer, read-only, not copied; it keeps the buffer exported as long as it or a slice of it lives."""
    if not layout.nbytes:
        empty = np.empty(layout.shape, layout.dtype)
        empty.flags.writeable = False
        return empty
    # Not np.ndarray(buffer=...): that one lets go of the export at once, and the block could be reused under the view.
    flat = np.frombuffer(buffer, layout.dtype)
    if flat.flags.writeable:
        flat.flags.writeable = False
    return flat if len(layout.shape) == 1 else flat.reshape(layout.shape)


def owner(array: Array) -> Any:
    """Find the object whose memory the array shows (a lease, a loan, bytes …), or None if the array owns it.

    The runner asks this to see that what a node returned lies in a block already and needs no copy.
    """
    base: Any = array.base
    while base is not None:
        if isinstance(base, memoryview):
            return base.obj
        if not isinstance(base, np.ndarray):
            return base
        base = base.base
    return None
