"""A node hears of each of its inputs when that one has ended, whatever the others do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ringline.data import RuntimeData
from ringline.node.base import MultiprocessNode
from ringline.testing import NodeHarness
from tests.unit.node.fakes import Rig

BOTH = ("left", "right")


class Tells(MultiprocessNode):
    """Passes messages on and says what ended."""

    def process(self, data: RuntimeData) -> str:
        return f"{data.port}: {data.as_text()}"

    def on_input_end(self, port: str) -> str:
        return f"{port} has ended"

    def on_end(self) -> str:
        return "all have ended"


class TellsAsync(Tells):
    async def process(self, data: RuntimeData) -> str:  # type: ignore[override]
        await asyncio.sleep(0)
        return f"{data.port}: {data.as_text()}"

    async def on_input_end(self, port: str) -> AsyncIterator[str]:  # type: ignore[override]
        yield f"{port} has"
        await asyncio.sleep(0)
        yield "ended"


class TellsInPieces(Tells):
    def on_input_end(self, port: str) -> Iterator[str]:  # type: ignore[override]
        self.emit(None, f"{port} has")
        yield "ended"


def words(sent: list[Any]) -> list[str]:
    return " | ".join(sent).replace("has | ended", "has ended").split(" | ")


@pytest.mark.parametrize("cls", [Tells, TellsAsync, TellsInPieces])
def test_each_end_is_told_after_the_last_message_and_before_the_end_of_all(cls: type[MultiprocessNode]) -> None:
    rig = Rig(cls, inputs=BOTH)
    rig.feed("a", "b", port="left", end=True)
    rig.feed("c", port="right", end=True)
    sent = words(rig.run())
    assert sorted(sent[:-1]) == sorted(["left: a", "left: b", "left has ended", "right: c", "right has ended"])
    assert sent.index("left: b") < sent.index("left has ended")
    assert sent.index("right: c") < sent.index("right has ended")
    assert sent[-1] == "all have ended"


@pytest.mark.parametrize("cls", [Tells, TellsAsync])
def test_an_end_is_told_while_the_other_input_never_rests(cls: type[MultiprocessNode]) -> None:
    rig = Rig(cls, inputs=BOTH)
    rig.feed(port="left", end=True)
    rig.feed(*"abc", port="right", end=True)
    assert words(rig.run())[0] == "left has ended"


@pytest.mark.parametrize("cls", [Tells, TellsAsync])
def test_an_end_is_told_while_the_other_input_is_silent(cls: type[MultiprocessNode]) -> None:
    class Answers(cls):  # type: ignore[misc, valid-type]
        """Lets the right input go on only when the left one has ended, so that nothing but the end can wake it."""

        def on_input_end(self, port: str) -> str:
            if port == "left":
                rig.feed("after", port="right", end=True)
            return f"{port} has ended"

    rig = Rig(Answers, inputs=BOTH)
    rig.feed("a", port="left", end=True)
    assert rig.run() == ["left: a", "left has ended", "right: after", "right has ended", "all have ended"]


@pytest.mark.parametrize("cls", [Tells, TellsAsync])
def test_the_only_input_is_told_of_too_and_only_once(cls: type[MultiprocessNode]) -> None:
    rig = Rig(cls)
    rig.feed("a", end=True)
    assert words(rig.run()) == ["input: a", "input has ended", "all have ended"]


@pytest.mark.parametrize("cls", [Tells, TellsAsync])
def test_an_error_there_is_the_nodes_error(cls: type[MultiprocessNode]) -> None:
    class Fails(cls):  # type: ignore[misc, valid-type]
        def on_input_end(self, port: str) -> None:
            raise ValueError(f"{port} was needed")

    rig = Rig(Fails)
    rig.feed(end=True)
    with pytest.raises(ValueError, match="input was needed"):
        rig.run()


def test_a_node_at_such_work_is_busy_for_the_watchdog() -> None:
    seen: list[bool] = []

    class Looks(Tells):
        def on_input_end(self, port: str) -> str:
            seen.append(rig.driver.busy_since > 0)
            return port

    rig = Rig(Looks)
    rig.feed(end=True)
    rig.run()
    assert (seen, rig.arena.beats[:1]) == ([True], [True])


async def test_the_harness_ends_one_input_after_the_other() -> None:
    async with NodeHarness(Tells, inputs=BOTH) as harness:
        assert [output.data.as_text() for output in await harness.end_input("left")] == ["left has ended"]
        assert [output.data.as_text() for output in await harness.send("c", "right")] == ["right: c"]
        assert [output.data.as_text() for output in await harness.end()] == ["right has ended", "all have ended"]
