"""Batches between a pool and its workers: a JSON header and the packed values it speaks of, in one message."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any, Final

from ringline.errors import DataError

_LENGTH: Final = struct.Struct("<I")


def frame(header: dict[str, Any], blobs: Sequence[bytes]) -> bytes:
    """Put a header and blobs together."""
    text = json.dumps([header, [len(blob) for blob in blobs]], separators=(",", ":")).encode()
    return b"".join((_LENGTH.pack(len(text)), text, *blobs))


def unframe(data: Any) -> tuple[dict[str, Any], list[memoryview]]:
    """Take them apart. Raises `DataError` for anything else."""
    view = memoryview(data).cast("B")
    try:
        (length,) = _LENGTH.unpack_from(view)
        header, sizes = json.loads(bytes(view[_LENGTH.size : _LENGTH.size + length]))
    except (struct.error, ValueError, TypeError) as error:
        raise DataError(f"a batch of agents' steps can't be read: {error}") from None
    at, blobs = _LENGTH.size + length, []
    for size in sizes:
        blobs.append(view[at : at + size])
        at += size
    return header, blobs
