"""Several streams back into one, in the order of their timestamps."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from ringline import RuntimeData, register_node
from ringline.nodes.support import BoxConfig, Ports
from ringline.nodes.waiting import Leaving, WaitingNode, kept


class ReorderConfig(BoxConfig):
    wait_ms: int = Field(
        200,
        ge=0,
        le=60_000,
        description="How long a message waits for earlier ones from other inputs, in ms. 0: for ever.",
    )
    late: Literal["drop", "send"] = Field(
        "drop",
        description="What happens to one that is earlier than what has left: drop it, or send it at once.",
    )
    max_held: int = Field(
        100,
        ge=1,
        le=4096,
        description="Messages held per input at most; the earliest leaves when there are more.",
    )


@register_node("reorder")
class Reorder(WaitingNode):
    """Merges streams, each in order, into one in the order of timestamps; payloads are not copied.

    Inputs: any port names that channels connect, each with one writer; output `output`. A message leaves when every input
    that has not ended has something later, or after `wait_ms`. What comes too late is counted (metric `late`).

    Example::

        - {name: merge, type: reorder, config: {wait_ms: 100}}       # channels: faces1.detections → merge.a, faces2… → merge.b
    """

    inputs: ClassVar[Ports] = {"*": "any"}
    outputs: ClassVar[Ports] = {"output": "any"}
    Config = ReorderConfig
    wait_limit = "wait_ms"
    options: ReorderConfig

    def forget(self) -> None:
        self._queues: dict[str, deque[tuple[RuntimeData, float]]] = {}
        self._last: int | None = None
        self._overdue: list[RuntimeData] = []

    def take(self, data: RuntimeData, now: float) -> None:
        if self._last is None or data.timestamp >= self._last:
            queue = self._queues.setdefault(data.port, deque())
            queue.append((kept(data, len(queue)), now))
            return
        self.metrics.counter("late").inc()
        if self.options.late == "send":
            self._overdue.append(data)

    def due(self, now: float, *, ending: bool) -> Iterator[Leaving]:
        while self._overdue:
            yield None, self._overdue.pop(0)
        while waiting := [queue for queue in self._queues.values() if queue]:
            first = min(waiting, key=lambda queue: queue[0][0].timestamp)
            everyone = all(self._queues.get(port) for port in self.awaited)
            full = any(len(queue) > self.options.max_held for queue in waiting)
            if not (everyone or full or ending or self._waited(now)):
                return
            data, _ = first.popleft()
            self._last = max(data.timestamp, self._last if self._last is not None else data.timestamp)
            yield None, data

    def deadline(self) -> float | None:
        arrivals = [queue[0][1] for queue in self._queues.values() if queue]
        return min(arrivals) + self.options.wait_ms / 1000 if arrivals and self.options.wait_ms else None

    def _waited(self, now: float) -> bool:
        """Say if any input's first message has waited long enough: then it leaves, and before it all that is earlier."""
        limit = self.deadline()
        return limit is not None and now >= limit
