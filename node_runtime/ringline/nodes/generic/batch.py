"""Many small messages in one: fewer hand-overs, and what a model likes to be fed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from ringline import DataError, DataType, RuntimeData, TensorMetadata, register_node
from ringline.nodes.support import BoxConfig, Ports
from ringline.nodes.waiting import Leaving, WaitingNode

_ARRAYS = (DataType.AUDIO, DataType.VIDEO, DataType.TENSOR)


class BatchConfig(BoxConfig):
    max_items: int = Field(8, ge=1, le=4096, description="A batch leaves when it has so many messages.")
    max_wait_ms: int = Field(
        50, ge=0, le=60_000, description="A batch leaves so many ms after its first message came. 0: only when full."
    )


@register_node("batch")
class Batch(WaitingNode):
    """Gathers messages into batches.

    Input `input`: audio, video, tensor, text or JSON. Output `output`: arrays of one shape and dtype are stacked into a tensor
    with a new first axis (`batch`); texts and JSON values become a JSON list. A message of another type, shape or dtype begins
    a new batch, so nothing is lost or padded; the end of the input sends the rest. The timestamp is the first message's.
    A tensor's `extra` has `count` and `timestamps`. Metric: `batch_size`, the last one's.

    Example::

        - {name: frames, type: batch, config: {max_items: 8, max_wait_ms: 50}}
    """

    inputs: ClassVar[Ports] = {"input": "any"}
    outputs: ClassVar[Ports] = {"output": "any"}
    Config = BatchConfig
    options: BatchConfig

    def forget(self) -> None:
        self._items: list[RuntimeData] = []
        self._kind: tuple[Any, ...] = ()
        self._first_at = 0.0
        self._complete: list[list[RuntimeData]] = []

    def take(self, data: RuntimeData, now: float) -> None:
        kind = self._kind_of(data)
        if self._items and kind != self._kind:
            self._close()
        if not self._items:
            self._kind, self._first_at = kind, now
        # A copy: otherwise each item would keep a block of its sender's heap.
        self._items.append(data.copy())
        if len(self._items) >= self.options.max_items:
            self._close()

    def due(self, now: float, *, ending: bool) -> Iterator[Leaving]:
        limit = self.deadline()
        if self._items and (ending or (limit is not None and now >= limit)):
            self._close()
        complete, self._complete = self._complete, []
        for items in complete:
            self.metrics.gauge("batch_size").set(len(items))
            yield None, _joined(items)

    def deadline(self) -> float | None:
        return self._first_at + self.options.max_wait_ms / 1000 if self._items and self.options.max_wait_ms else None

    def _close(self) -> None:
        self._complete.append(self._items)
        self._items = []

    def _kind_of(self, data: RuntimeData) -> tuple[Any, ...]:
        if data.type in _ARRAYS:
            array = data.as_numpy()
            return ("array", data.type, array.shape, array.dtype)
        if data.type in (DataType.TEXT, DataType.JSON):
            return ("list",)
        raise DataError(
            f"node '{self.node_id}' (batch) can't gather messages of type {data.type.value}; it takes arrays, text and JSON"
        )


def _joined(items: list[RuntimeData]) -> RuntimeData:
    first = items[0]
    if first.type in _ARRAYS:
        extra = {"count": len(items), "timestamps": [item.timestamp for item in items]}
        names = ("batch", *(f"axis{axis}" for axis in range(first.as_numpy().ndim)))
        made = RuntimeData(
            DataType.TENSOR, np.stack([item.as_numpy() for item in items]), metadata=TensorMetadata(names, extra=extra)
        )
    else:
        made = RuntimeData.json([item.as_text() if item.type is DataType.TEXT else item.as_json() for item in items])
    return made.with_(timestamp=first.timestamp, origin=first.origin, session_id=first.session_id)
