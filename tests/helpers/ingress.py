"""A session that only remembers, for tests of what stands between it and other processes."""

from __future__ import annotations

import asyncio
from typing import Any

from ringline.data import RuntimeData
from ringline.errors import EndOfStream


class FakeSession:
    """Takes inputs into a list and gives outputs from queues; an error in a queue is raised, None ends the output."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []
        self.ended: list[str | None] = []
        self.refuse: Exception | None = None
        self.outputs: dict[str, asyncio.Queue[Any]] = {"speaker": asyncio.Queue(), "words": asyncio.Queue()}

    async def send(self, node_id: str, data: Any, *, timeout: float | None = None) -> bool:
        if self.refuse is not None:
            raise self.refuse
        self.taken.append((node_id, data.as_text()))
        return True

    async def end(self, node_id: str | None = None) -> None:
        self.ended.append(node_id)

    async def receive(self, node_id: str, *, timeout: float | None = None) -> RuntimeData:
        item = await self.outputs[node_id].get()
        if item is None:
            raise EndOfStream("it has ended")
        if isinstance(item, Exception):
            raise item
        assert isinstance(item, RuntimeData)
        return item


async def until(condition: Any) -> None:
    """Wait until a condition holds that has no event of its own."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)
