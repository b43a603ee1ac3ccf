"""The clock that batch, join, mix, reorder and draw share: order, errors, flush, end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from ringline import DataError, RuntimeData
from ringline.nodes.waiting import Leaving, WaitingNode
from ringline.testing import NodeHarness


class Late(WaitingNode):
    """Sends each text 20 ms after it came; the text 'bad' is an error when it leaves."""

    delay_s = 0.02

    def forget(self) -> None:
        self.held: list[tuple[float, RuntimeData]] = []

    def take(self, data: RuntimeData, now: float) -> None:
        self.held.append((now + self.delay_s, data))

    def due(self, now: float, *, ending: bool) -> Iterator[Leaving]:
        while self.held and (ending or now >= self.held[0][0]):
            _, data = self.held.pop(0)
            if data.as_text() == "bad":
                raise DataError("bad text")
            yield None, data

    def deadline(self) -> float | None:
        return self.held[0][0] if self.held else None


async def said(node: NodeHarness, text: str) -> list[str]:
    return [output.data.as_text() for output in await node.send(RuntimeData.text(text))]


async def clock_stopped(node: NodeHarness) -> None:
    """Wait until the node's clock has failed."""
    assert isinstance(node.node, Late)
    alarm = node.node._alarm
    assert alarm is not None
    await asyncio.wait([alarm])


async def test_what_is_due_leaves_by_itself_and_in_order() -> None:
    async with NodeHarness(Late) as node:
        for text in ("one", "two", "three"):
            assert await said(node, text) == []
        assert [(await node.receive()).data.as_text() for _ in range(3)] == ["one", "two", "three"]


async def test_the_clock_runs_again_after_it_had_nothing_to_do() -> None:
    async with NodeHarness(Late) as node:
        for text in ("one", "two"):
            await said(node, text)
            assert (await node.receive()).data.as_text() == text


async def test_the_end_sends_what_waits_at_once() -> None:
    async with NodeHarness(Late) as node:
        await said(node, "one")
        assert [output.data.as_text() for output in await node.end()] == ["one"]


async def test_a_flush_drops_what_waits() -> None:
    async with NodeHarness(Late) as node:
        await said(node, "one")
        await node.flush()
        await asyncio.sleep(0.04)
        assert await node.end() == []


async def test_an_error_of_the_clock_is_raised_by_the_next_message() -> None:
    async with NodeHarness(Late) as node:
        await said(node, "bad")
        await clock_stopped(node)
        with pytest.raises(DataError, match="bad text"):
            await said(node, "next")


async def test_an_error_of_the_clock_is_raised_by_the_end() -> None:
    async with NodeHarness(Late) as node:
        await said(node, "bad")
        await clock_stopped(node)
        with pytest.raises(DataError, match="bad text"):
            await node.end()


async def test_leaving_the_node_stops_its_clock() -> None:
    async with NodeHarness(Late) as node:
        await said(node, "one")
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


class Stuck(Late):
    """As if the channel were full: `emit_async` waits for `room`."""

    delay_s = 0.0

    def initialize(self) -> None:
        super().initialize()
        self.room = asyncio.Event()

    async def emit_async(self, port: str | None, data: Any) -> None:
        await self.room.wait()
        await super().emit_async(port, data)


async def test_a_flush_stops_a_batch_that_is_being_sent() -> None:
    async with NodeHarness(Stuck) as node:
        stuck = node.node
        assert isinstance(stuck, Stuck)
        sending = asyncio.create_task(node.send(RuntimeData.text("one")))
        stuck.take(RuntimeData.text("two"), 0.0)
        await asyncio.sleep(0.01)
        await node.flush()
        stuck.room.set()
        sent = [output.data.as_text() for output in await sending]
    assert sent == ["two"]


async def test_a_bare_waiting_node_holds_nothing_back_and_sends_nothing() -> None:
    async with NodeHarness(WaitingNode) as node:
        assert await said(node, "one") == []
        assert await node.end() == []
