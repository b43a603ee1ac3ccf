"""Messages of several inputs that belong together, by timestamp."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field

from ringline import DataError, DataType, NodeConfigError, RuntimeData, register_node
from ringline.nodes.support import BoxConfig, Ports, with_extra
from ringline.nodes.waiting import Leaving, WaitingNode, kept


class JoinConfig(BoxConfig):
    wait_ms: int = Field(
        200, ge=0, le=60_000, description="How long a message waits for its partners, in ms. 0: for ever."
    )
    tolerance_ms: float = Field(
        0.0, ge=0, le=60_000, description="Timestamps that differ by so much or less belong together."
    )
    missing: Literal["drop", "send"] = Field(
        "drop", description="What happens to a group that is not complete in time."
    )
    primary: str | None = Field(
        None,
        description="The input whose message is sent, uncopied, with the others' JSON or text in its `extra`; absent: a JSON object is sent.",
    )
    max_held: int = Field(
        100,
        ge=1,
        le=4096,
        description="Messages held per input at most; the oldest goes when there are more.",
    )


@register_node("join")
class Join(WaitingNode):
    """Joins messages with the same timestamp.

    Inputs: any port names that channels connect, each with one writer. Output `output`: with `primary` the message of that
    input, to whose metadata `extra` the others' values (JSON or text) are added under their port names; without it a JSON object
    port → value. A group leaves when all inputs have contributed; an input that is already past the time or has ended, or
    `wait_ms`, makes it incomplete. Metric: `incomplete`.

    Example::

        - {name: both, type: join, config: {primary: video, wait_ms: 100}}     # frames with their detections
    """

    inputs: ClassVar[Ports] = {"*": "any"}
    outputs: ClassVar[Ports] = {"output": "any"}
    Config = JoinConfig
    wait_limit = "wait_ms"
    options: JoinConfig

    def initialize(self) -> None:
        super().initialize()
        primary = self.options.primary
        if primary is not None and self.input_ports and primary not in self.input_ports:
            raise NodeConfigError(
                f"node '{self.node_id}' (join) has no input '{primary}' for primary (it has: {', '.join(self.input_ports)})"
            )
        self._tolerance_ns = int(self.options.tolerance_ms * 1e6)

    def forget(self) -> None:
        self._queues: dict[str, deque[tuple[RuntimeData, float]]] = {port: deque() for port in self.input_ports}

    def take(self, data: RuntimeData, now: float) -> None:
        if data.port != self.options.primary and data.type not in (DataType.TEXT, DataType.JSON):
            raise DataError(
                f"node '{self.node_id}' (join) can put only text and JSON together, but {data.type.value} came at '{data.port}';"
                " make that input the primary one"
            )
        queue = self._queues.setdefault(data.port, deque())
        queue.append((kept(data, len(queue)), now))

    def due(self, now: float, *, ending: bool) -> Iterator[Leaving]:
        while waiting := [queue for queue in self._queues.values() if queue]:
            time = min(queue[0][0].timestamp for queue in waiting)
            group = {
                port: queue
                for port, queue in self._queues.items()
                if queue and queue[0][0].timestamp - time <= self._tolerance_ns
            }
            complete = len(group) == len(self._queues)
            full = any(len(queue) > self.options.max_held for queue in waiting)
            # Every input has something or has ended, yet not all fit: what is missing was lost and won't come.
            hopeless = all(self._queues[port] for port in self.awaited)
            if not (complete or hopeless or full or ending or self._waited(now)):
                return
            yield from self._leave({port: queue.popleft()[0] for port, queue in group.items()}, complete)

    def deadline(self) -> float | None:
        arrivals = [queue[0][1] for queue in self._queues.values() if queue]
        return min(arrivals) + self.options.wait_ms / 1000 if arrivals and self.options.wait_ms else None

    def _waited(self, now: float) -> bool:
        limit = self.deadline()
        return limit is not None and now >= limit

    def _leave(self, group: dict[str, RuntimeData], complete: bool) -> Iterator[Leaving]:
        if not complete:
            self.metrics.counter("incomplete").inc()
            if self.options.missing == "drop":
                return
        values = {port: _value(data) for port, data in group.items() if port != self.options.primary}
        if self.options.primary is None:
            first = next(iter(group.values()))
            made = RuntimeData.json(values, timestamp=min(data.timestamp for data in group.values()))
            yield None, made.with_(origin=first.origin, session_id=first.session_id)
        elif self.options.primary in group:
            yield None, with_extra(group[self.options.primary], values)


def _value(data: RuntimeData) -> Any:
    return data.as_text() if data.type is DataType.TEXT else data.as_json()
