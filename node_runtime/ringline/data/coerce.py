"""Which message a raw value becomes: applications may send arrays, text, bytes, paths and JSON values as they are.

Called by `RuntimeData.coerce`, which sessions and node runners apply to what they are given.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Final

from ringline.data.types import DataType
from ringline.errors import DataError

_ALSO: Final = {
    DataType.TENSOR: (DataType.AUDIO, DataType.VIDEO, DataType.BINARY),
    DataType.BINARY: (),
    DataType.TEXT: (DataType.FILE, DataType.JSON),
    DataType.FILE: (),
    DataType.JSON: (DataType.CONTROL,),
}
"""What a value can be sent as beside its natural type."""


def data_type_for(value: Any, wanted: DataType | None) -> DataType:
    """Choose the type that a raw value is sent as: the wanted one if the value can be that, else its natural one.

    DataError for what is neither an array, text, bytes, a path nor a JSON value.
    """
    natural = _natural(value)
    return wanted if wanted in _ALSO[natural] else natural


def is_wav(value: Any) -> bool:
    """Say whether the value is the content of a WAV file."""
    return isinstance(value, (bytes, bytearray, memoryview)) and bytes(value[:4]) == b"RIFF"


def _natural(value: Any) -> DataType:
    if isinstance(value, (str, PurePath)):
        return DataType.TEXT if isinstance(value, str) else DataType.FILE
    if isinstance(value, (bytes, bytearray, memoryview)):
        return DataType.BINARY
    if value is None or isinstance(value, (dict, list, tuple, int, float)):
        return DataType.JSON
    if hasattr(value, "__array__"):
        return DataType.TENSOR
    raise DataError(
        f"a {type(value).__name__} can't be sent; send a RuntimeData, a numpy array, str, bytes, path or JSON value"
    )
