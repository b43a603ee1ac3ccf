"""Events are written behind the work: warnings first, never too many, and none holds anything up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from ringline_operator import tell
from ringline_operator.actions import EmitEvent
from ringline_operator.kube import ApiError, Kube
from ringline_operator.tell import Teller
from tests.operator.fake_api import FakeApi


def news(text: str, kind: str = "Normal") -> EmitEvent:
    return EmitEvent("MediaSession", "call", "uid-call", kind, "Because", text)


def teller(api: FakeApi, *, busy: bool = False) -> Teller:
    return Teller(cast("Kube", api), busy=lambda: busy)


def said(api: FakeApi) -> list[str]:
    return [item["message"] for _, _, item in api.history]


async def until(count: int, api: FakeApi) -> None:
    async with asyncio.timeout(30):
        while len(said(api)) < count:
            await asyncio.sleep(0.005)


async def test_what_is_told_is_written_in_its_order() -> None:
    api = FakeApi()
    writer = teller(api)
    writer.start()
    for text in ("one", "two", "three"):
        writer.tell("default", news(text))
    await until(3, api)
    await writer.stop()
    assert said(api) == ["one", "two", "three"]


async def test_telling_waits_for_nothing() -> None:
    api = FakeApi()
    teller(api).tell("default", news("one"))
    assert api.calls == 0


async def test_warnings_go_first_and_do_not_wait_for_a_quiet_moment() -> None:
    api = FakeApi()
    writer = teller(api, busy=True)
    writer.start()
    writer.tell("default", news("well"))
    writer.tell("default", news("ill", "Warning"))
    await until(1, api)
    assert said(api) == ["ill"]
    await writer.stop()
    assert said(api) == ["ill", "well"], "the last words are said"


async def test_even_good_news_are_told_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell, "PATIENCE_S", 0.0)
    api = FakeApi()
    writer = teller(api, busy=True)
    writer.start()
    writer.tell("default", news("well"))
    await until(1, api)
    await writer.stop()


async def test_too_many_are_dropped_the_oldest_first_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell, "MOST", 2)
    api = FakeApi()
    writer = teller(api)
    for text in ("one", "two", "three"):
        writer.tell("default", news(text))
    await writer.flush()
    assert said(api) == ["two", "three"]
    assert writer.dropped == 1


async def test_the_same_said_again_moves_the_time_of_the_first() -> None:
    api = FakeApi()
    writer = teller(api)
    for _ in range(2):
        writer.tell("default", news("one"))
    await writer.flush()
    assert len(api.of("Event")) == 1
    assert writer.dropped == 0


async def test_an_event_that_is_refused_is_counted_and_the_next_one_written() -> None:
    api = FakeApi()
    writer = teller(api)
    api.refuse["Event"] = ApiError(403, "Forbidden", "no")
    writer.tell("default", news("one"))
    await writer.flush()
    del api.refuse["Event"]
    writer.tell("default", news("two"))
    await writer.flush()
    assert said(api) == ["two"]
    assert writer.dropped == 1


async def test_no_failure_ends_the_writing(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(FakeApi):
        async def create(self, kind: str, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
            if body["message"] == "one":
                raise RuntimeError("the credentials can't be read")
            return await super().create(kind, namespace, body)

    api = Failing()
    writer = teller(api)
    writer.start()
    writer.tell("default", news("one"))
    writer.tell("default", news("two"))
    await until(1, api)
    await writer.stop()
    assert said(api) == ["two"]
    assert writer.dropped == 1
    assert "the credentials can't be read" in caplog.text


async def test_an_api_server_that_hangs_does_not_keep_the_operator_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(FakeApi):
        async def create(self, *_: object, **__: object) -> dict[str, object]:
            await asyncio.Event().wait()
            return {}

    monkeypatch.setattr(tell, "LAST_WORDS_S", 0.01)
    writer = teller(Hanging())
    writer.start()
    writer.tell("default", news("one"))
    writer.tell("default", news("two"))
    await asyncio.wait_for(writer.stop(), 30)
