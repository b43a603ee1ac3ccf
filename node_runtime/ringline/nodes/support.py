"""What every node type in the box needs: a strict config model, optional libraries, and checks of what arrives.

Imported by all modules of `ringline.nodes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from pydantic import BaseModel, ConfigDict

from ringline import DataError, DataType, MultiprocessNode, NodeLoadError, RuntimeData, TextMetadata
from ringline.data import Metadata

Ports = Mapping[str, DataType | str] | None
"""The type of a node class's `inputs` and `outputs`."""


class BoxConfig(BaseModel):
    """The base of every config here: a key that is not in the schema is an error, not silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def optional_library(name: str, extra: str) -> Any:
    """Import a library that only some nodes need. NodeLoadError names the extra that brings it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise NodeLoadError(
            f"the library '{name}' can't be imported ({error}); install it with: pip install \"ringline[{extra}]\""
        ) from error


def expect(node: MultiprocessNode, data: RuntimeData, *wanted: DataType) -> None:
    """DataError if the message is of another type than the node can use."""
    if data.type not in wanted:
        names = " or ".join(kind.value for kind in wanted)
        raise DataError(f"node '{node.node_id}' takes {names}, but a message of type {data.type.value} came")


def extra_of(data: RuntimeData) -> dict[str, Any]:
    """Give the application's own metadata fields of a message; an empty dict if it has none. A copy: free to change."""
    return dict(data.metadata.extra) if data.metadata is not None else {}


def with_extra(data: RuntimeData, values: Mapping[str, Any]) -> RuntimeData:
    """Give the same message, its payload not copied, with more fields in its metadata's `extra`."""
    merged = {**extra_of(data), **values}
    return data.with_(
        metadata=replace(data.metadata, extra=merged) if data.metadata is not None else Metadata(extra=merged)
    )


def final_text(node: MultiprocessNode, data: RuntimeData) -> str | None:
    """Give the text of a message, or None if it is a partial result that a later one replaces. DataError for other types."""
    expect(node, data, DataType.TEXT)
    if isinstance(data.metadata, TextMetadata) and not data.metadata.final:
        return None
    return data.as_text()
