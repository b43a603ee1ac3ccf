"""Well-behaved nodes for the tests of a session's life: every shape that a node may have."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

from ringline import MultiprocessNode, RuntimeData, SourceNode, register_node


@register_node("t_echo")
class Echo(MultiprocessNode):
    """Sends back what it gets (the same block)."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        return data


@register_node("t_upper")
class Upper(MultiprocessNode):
    """Text in capitals, by a plain synchronous process."""

    def process(self, data: RuntimeData) -> RuntimeData:
        return RuntimeData.text(data.as_text().upper()).with_(timestamp=data.timestamp)


@register_node("t_reports")
class Reports(MultiprocessNode):
    """Reports its progress while it starts, takes parameters, remembers flushes."""

    async def initialize(self) -> None:
        self.word = str(self.config.get("word", "first"))
        self.flushes = 0
        self.report_progress(0.5, "half of the model")
        await asyncio.sleep(0)

    def on_parameters(self, parameters: dict[str, Any]) -> None:
        self.word = parameters["word"]

    def on_flush(self) -> None:
        self.flushes += 1

    async def process(self, data: RuntimeData) -> RuntimeData:
        return RuntimeData.json({"word": self.word, "flushes": self.flushes, "pid": os.getpid(), "got": data.payload})


@register_node("t_many")
class Many(MultiprocessNode):
    """Yields `count` numbers per message, slowly, until it is interrupted."""

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        for number in range(int(self.config.get("count", 3))):
            yield RuntimeData.text(f"{data.as_text()}{number}")
            await asyncio.sleep(float(self.config.get("pause_s", 0)))


@register_node("t_slow")
class Slow(MultiprocessNode):
    """Takes its time for each message."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        await asyncio.sleep(float(self.config.get("pause_s", 0.05)))
        return data


@register_node("t_count")
class Count(SourceNode):
    """Counts to `count`; then its stream ends."""

    def produce(self) -> Iterator[RuntimeData]:
        for number in range(int(self.config.get("count", 5))):
            yield RuntimeData.text(str(number)).with_(timestamp=number)


@register_node("t_total")
class Total(MultiprocessNode):
    """Says at the end how many messages came."""

    def initialize(self) -> None:
        self.seen = 0

    def process(self, data: RuntimeData) -> None:
        self.seen += 1

    def on_end(self) -> RuntimeData:
        return RuntimeData.text(f"total {self.seen}")

    def cleanup(self) -> None:
        print(f"cleaned up after {self.seen}")


@register_node("t_split")
class Split(MultiprocessNode):
    """Even lengths to one port, odd ones to the other."""

    outputs: ClassVar = {"even": "text", "odd": "text"}

    def process(self, data: RuntimeData) -> dict[str, RuntimeData]:
        return {"odd" if len(data.as_text()) % 2 else "even": data}


@register_node("t_environment")
class Environment(MultiprocessNode):
    """Answers with one of its environment variables, and its interpreter."""

    def process(self, data: RuntimeData) -> RuntimeData:
        import sys

        return RuntimeData.json(
            {"value": os.environ.get(data.as_text()), "python": sys.executable, "path": sys.path[:3]}
        )
