"""How each data type's payload is checked when a message is made, written to a block, and read from one.

Called by `RuntimeData` (check, read, size, copy) and by the codec (write). One `Form` per way of storing: arrays, text,
paths, JSON values, bytes, several arrays.
"""

from __future__ import annotations

import copy
import json
import os
from typing import Any, Final, Protocol

import numpy as np

from ringline.data import arrays, bundle
from ringline.data.arrays import Array, Layout
from ringline.data.types import DataType
from ringline.errors import DataError


class Form(Protocol):
    """A way of storing a payload."""

    is_array: bool

    def check(self, payload: Any, data_type: DataType) -> Any:
        """Give the payload as it is kept in a message; DataError if it can't be carried."""

    def write(self, payload: Any) -> tuple[Any, bool]:
        """Give a C-contiguous buffer of it, and whether an array had to be copied for that."""

    def read(self, buffer: Any, layout: Layout | None) -> Any:
        """Give the payload in a block; DataError if the bytes are not what they should be."""

    def size(self, payload: Any) -> int:
        """Its length on the wire in bytes."""

    def copy(self, payload: Any) -> Any:
        """One that shares no memory with it."""


class _ArrayForm:
    is_array = True

    def check(self, payload: Any, data_type: DataType) -> Array:
        return arrays.check(payload, data_type)

    def write(self, payload: Array) -> tuple[Any, bool]:
        return arrays.contiguous(payload)

    def read(self, buffer: Any, layout: Layout | None) -> Array:
        if layout is None:
            raise DataError("an array without a layout")
        return arrays.view(buffer, layout)

    def size(self, payload: Array) -> int:
        return payload.nbytes

    def copy(self, payload: Array) -> Array:
        return payload.copy()


class _TextForm:
    is_array = False

    def check(self, payload: Any, data_type: DataType) -> str:
        if isinstance(payload, str):
            return payload
        raise DataError(f"the payload of a {data_type.value} message must be a str, not {type(payload).__name__}")

    def write(self, payload: str) -> tuple[Any, bool]:
        try:
            return payload.encode(), False
        except UnicodeEncodeError as error:
            raise DataError(f"the text has a lone surrogate at character {error.start} and can't be sent") from None

    def read(self, buffer: Any, _layout: Layout | None) -> str:
        try:
            return str(buffer, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"the received text is not UTF-8: {error}") from None

    def size(self, payload: str) -> int:
        return len(payload) if payload.isascii() else len(self.write(payload)[0])

    def copy(self, payload: str) -> str:
        return payload


class _PathForm(_TextForm):
    """A path is bytes to the kernel: names that are not UTF-8 must survive."""

    def check(self, payload: Any, data_type: DataType) -> str:
        try:
            path = os.fsdecode(payload)
        except TypeError:
            raise DataError(
                f"the payload of a {data_type.value} message must be a path, not {type(payload).__name__}"
            ) from None
        if "\0" in path:
            raise DataError(f"the payload of a {data_type.value} message has a NUL character, which no path can have")
        return path

    def write(self, payload: str) -> tuple[Any, bool]:
        return os.fsencode(payload), False

    def read(self, buffer: Any, _layout: Layout | None) -> str:
        return os.fsdecode(bytes(buffer))

    def size(self, payload: str) -> int:
        return len(os.fsencode(payload))


class _JsonForm:
    """JSON as Python writes it: NaN and infinities pass, tuples become lists, keys become strings."""

    is_array = False

    def check(self, payload: Any, data_type: DataType) -> Any:
        if payload is None or isinstance(payload, (dict, list, tuple, str, int, float)):
            return payload
        raise DataError(
            f"the payload of a {data_type.value} message must be a JSON value (dict, list, str, number, bool or None), "
            f"not {type(payload).__name__}"
        )

    def write(self, payload: Any) -> tuple[Any, bool]:
        return dump_json(payload, "the JSON payload"), False

    def read(self, buffer: Any, _layout: Layout | None) -> Any:
        return parse_json(bytes(buffer), "the received JSON payload")

    def size(self, payload: Any) -> int:
        return len(dump_json(payload, "the JSON payload"))

    def copy(self, payload: Any) -> Any:
        return copy.deepcopy(payload)


class _BytesForm:
    is_array = False

    def check(self, payload: Any, data_type: DataType) -> Any:
        if isinstance(payload, (bytes, bytearray, memoryview)):
            return payload
        try:
            return memoryview(payload)
        except (TypeError, ValueError, BufferError):
            raise DataError(
                f"the payload of a {data_type.value} message must be bytes-like, not {type(payload).__name__}"
            ) from None

    def write(self, payload: Any) -> tuple[Any, bool]:
        if isinstance(payload, memoryview) and not payload.c_contiguous:
            return payload.tobytes(), True
        return payload, False

    def read(self, buffer: Any, _layout: Layout | None) -> memoryview:
        return memoryview(buffer).toreadonly()

    def size(self, payload: Any) -> int:
        return memoryview(payload).nbytes

    def copy(self, payload: Any) -> bytes:
        return bytes(payload)


class _BundleForm:
    is_array = False

    def check(self, payload: Any, _: DataType) -> bundle.Arrays:
        return bundle.checked(payload)

    def write(self, payload: bundle.Arrays) -> tuple[Any, bool]:
        return bundle.write(payload), True

    def read(self, buffer: Any, _layout: Layout | None) -> bundle.Arrays:
        return bundle.read(buffer)

    def size(self, payload: bundle.Arrays) -> int:
        return bundle.size(payload)

    def copy(self, payload: bundle.Arrays) -> bundle.Arrays:
        return bundle.checked({name: array.copy() for name, array in payload.items()})


def dump_json(value: Any, what: str) -> bytes:
    """Compact JSON; DataError for what JSON has no word for."""
    try:
        return json.dumps(value, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{what} can't be written as JSON: {error}") from None


def parse_json(text: bytes, what: str) -> Any:
    """Read a JSON value; DataError for anything else, however deep or long."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{what} is not JSON: {error}") from None


def as_bytes_view(payload: Any) -> Array:
    """Show the bytes of a binary payload as a read-only uint8 array, not copied."""
    view = memoryview(payload)
    flat = view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())
    return arrays.view(flat, Layout(np.dtype(np.uint8), (flat.nbytes,), flat.nbytes))


_ARRAY: Final = _ArrayForm()
_JSON: Final = _JsonForm()
TEXT: Final = _TextForm()

FORMS: Final[tuple[Form, ...]] = (
    *(_ARRAY, _ARRAY, _ARRAY, TEXT, _ARRAY, _JSON, _BytesForm(), _PathForm(), _JSON, _BundleForm()),
)
"""By `DataType.code`; place 0 is never used."""
