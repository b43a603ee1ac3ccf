"""Outputs are read whether or not somebody listens, and every listener gets every message in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ringline.data import RuntimeData
from ringline.errors import DataError, ProcessCrashed, SessionClosedError, SessionError
from ringline.host.outlets import Listener, Outlets
from tests.helpers.ingress import FakeSession, until


def remember(into: list[str | None]) -> Listener:
    async def listen(data: RuntimeData | None) -> None:
        into.append(None if data is None else data.as_text())

    return listen


async def test_listeners_get_every_message_and_the_end() -> None:
    session = FakeSession()
    first: list[str | None] = []
    second: list[str | None] = []
    async with Outlets(session, ["words"]) as outlets:
        await outlets.get("words").listen(remember(first))
        await outlets.get("words").listen(remember(second))
        for item in (RuntimeData.text("one"), RuntimeData.text("two"), None):
            session.outputs["words"].put_nowait(item)
        await outlets.finished()
    assert first == second == ["one", "two", None]


async def test_who_leaves_gets_nothing_more_and_may_leave_again() -> None:
    session = FakeSession()
    heard: list[str | None] = []
    listener = remember(heard)
    async with Outlets(session, ["words"]) as outlets:
        outlet = outlets.get("words")
        await outlet.listen(listener)
        session.outputs["words"].put_nowait(RuntimeData.text("one"))
        await until(lambda: outlet.messages == 1)
        outlet.leave(listener)
        outlet.leave(listener)
        session.outputs["words"].put_nowait(RuntimeData.text("two"))
        await until(lambda: outlet.messages == 2)
    assert heard == ["one"]


async def test_who_comes_after_the_end_hears_only_the_end() -> None:
    session = FakeSession()
    heard: list[str | None] = []
    async with Outlets(session, ["words"]) as outlets:
        session.outputs["words"].put_nowait(None)
        await outlets.finished()
        await outlets.get("words").listen(remember(heard))
    assert heard == [None]


@pytest.mark.parametrize("error", [ProcessCrashed("asr", 1), SessionClosedError("closed")])
async def test_an_error_of_the_session_is_an_end(error: Exception) -> None:
    session = FakeSession()
    heard: list[str | None] = []
    async with Outlets(session, ["words"]) as outlets:
        await outlets.get("words").listen(remember(heard))
        session.outputs["words"].put_nowait(error)
        await outlets.finished()
    assert heard == [None]


async def test_what_a_listener_raises_is_raised_by_finished() -> None:
    session = FakeSession()

    async def refuse(_data: RuntimeData | None) -> None:
        raise DataError("the disk is full")

    async with Outlets(session, ["words"]) as outlets:
        await outlets.get("words").listen(refuse)
        data = RuntimeData.text("x")
        session.outputs["words"].put_nowait(data)
        with pytest.raises(DataError, match="the disk is full"):
            await outlets.finished()
    assert data.released


async def test_a_slow_listener_holds_up_its_own_output_only() -> None:
    session = FakeSession()
    allowed = asyncio.Event()

    async def slow(_data: RuntimeData | None) -> None:
        await allowed.wait()

    async with Outlets(session, ["words", "speaker"]) as outlets:
        await outlets.get("words").listen(slow)
        for name in ("words", "speaker"):
            for _ in range(3):
                session.outputs[name].put_nowait(RuntimeData.text(name))
        await until(lambda: outlets.get("speaker").messages == 3)
        assert outlets.get("words").messages == 1
        allowed.set()
        await until(lambda: outlets.get("words").messages == 3)


async def test_messages_are_released_after_the_last_listener() -> None:
    session = FakeSession()
    seen: list[Callable[[], bool]] = []

    async def look(data: RuntimeData | None) -> None:
        if data is not None:
            assert not data.released
            seen.append(lambda: data.released)

    async with Outlets(session, ["words"]) as outlets:
        await outlets.get("words").listen(look)
        session.outputs["words"].put_nowait(RuntimeData.text("x"))
        await until(lambda: bool(seen))
        await until(seen[0])


async def test_an_unknown_output_names_those_that_exist() -> None:
    with pytest.raises(SessionError, match=r"no output 'nose' \(it has: words\)"):
        Outlets(FakeSession(), ["words"]).get("nose")
    with pytest.raises(SessionError, match=r"\(it has: none\)"):
        Outlets(FakeSession(), []).get("nose")
