"""At most so many messages a second."""

from __future__ import annotations

import time
from typing import ClassVar, Literal

from pydantic import Field

from ringline import MultiprocessNode, RuntimeData, register_node
from ringline.nodes.support import BoxConfig, Ports


class ThrottleConfig(BoxConfig):
    max_per_s: float = Field(gt=0, le=1e6, description="Messages per second that pass.")
    clock: Literal["media", "arrival"] = Field(
        "media", description="media: by the messages' timestamps; arrival: by when they come."
    )


@register_node("throttle")
class Throttle(MultiprocessNode):
    """Lets at most `max_per_s` messages pass and drops the others; payloads are not copied.

    Input `input` and output `output` of any type. The first message passes; later ones pass on a fixed grid, so that 30 a
    second at `max_per_s: 10` become exactly 10. A timestamp that goes back starts the grid anew. Metric: `dropped`.

    Example::

        - {name: ten, type: throttle, config: {max_per_s: 10}}
    """

    inputs: ClassVar[Ports] = {"input": "any"}
    outputs: ClassVar[Ports] = {"output": "any"}
    Config = ThrottleConfig
    options: ThrottleConfig

    def initialize(self) -> None:
        self.on_flush()

    def on_flush(self) -> None:
        self._next: float | None = None
        self._last = 0

    def process(self, data: RuntimeData) -> RuntimeData | None:
        now = data.timestamp if self.options.clock == "media" else time.monotonic_ns()
        interval = 1e9 / self.options.max_per_s
        if now < self._last:
            self._next = None
        self._last = now
        # A microsecond early is on time: 33.3 ms steps are rounded in timestamps.
        if self._next is not None and now < self._next - 1000:
            self.metrics.counter("dropped").inc()
            return None
        late = self._next is None or now > self._next + interval
        self._next = (now if late or self._next is None else self._next) + interval
        return data
