"""A channel of an inline session against a model, and the words for who can't send."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringline import RuntimeData
from ringline.errors import ChannelFullError, DataError, EndOfStream, InitTimeout, MessageTooLargeError, SessionError
from ringline.graph.layout import ChannelPlan
from ringline.host import inline_channel
from ringline.host.exits import ExitRecord
from ringline.host.inline import InlineEngine
from ringline.host.inline_channel import Bell, InlineChannel
from ringline.host.ports import channel_full
from ringline.node import registry
from ringline.node.base import MultiprocessNode
from tests.unit.host.crews import planned

POLICIES = ("block", "drop_oldest", "drop_newest", "latest")


def channel(overflow: Any = "block", capacity: int = 3, **changes: Any) -> InlineChannel:
    plan = ChannelPlan(
        index=0, name="a_to_b", producer="a", producer_port="output", consumer="b", consumer_port="input",
        capacity=capacity, overflow=overflow, block_timeout_ms=0, kind="any", **({"deadline_ms": 0} | changes),
    )  # fmt: skip
    return InlineChannel(plan, Bell(), "s1", 1000)


@settings(max_examples=60)
@given(st.sampled_from(POLICIES), st.integers(1, 4), st.lists(st.sampled_from(["put", "take", "flush"]), max_size=40))
def test_a_channel_behaves_as_its_policy_says(overflow: str, capacity: int, steps: list[str]) -> None:
    tested, model = channel(overflow, capacity), deque[str]()
    put = lost = flushed = 0
    for number, step in enumerate(steps):
        if step == "put":
            full = len(model) == capacity
            done = tested.put(tested.wire(RuntimeData.text(str(number))))
            assert done is (None if full and overflow == "block" else not (full and overflow == "drop_newest"))
            if full and overflow in ("drop_oldest", "latest"):
                model.popleft()
            if done:
                model.append(str(number))
            put, lost = put + bool(done), lost + (full and overflow != "block")
        elif step == "take":
            data = tested.take()
            assert (data.as_text() if data else None) == (model.popleft() if model else None)
        else:
            flushed += len(model)
            model.clear()
            tested.flush()
    stats = tested.stats()
    assert (stats.message_count, stats.current_occupancy) == (put, len(model))
    assert sum(stats.dropped.values()) == lost + flushed


def test_what_is_too_old_is_dropped_when_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 1.0

        def monotonic(self) -> float:
            return self.now

        def monotonic_ns(self) -> int:
            return int(self.now * 1e9)

    clock = Clock()
    monkeypatch.setattr(inline_channel, "time", clock)
    late = channel("deadline", deadline_ms=100)
    late.put(late.wire(RuntimeData.text("old")))
    clock.now = 1.08
    late.put(late.wire(RuntimeData.text("new")))
    clock.now = 1.15
    taken = late.take()
    assert taken is not None
    assert (taken.as_text(), taken.port, taken.sequence) == ("new", "input", 0)
    assert late.stats().dropped == {"deadline": 1}


def test_an_end_comes_after_what_was_sent() -> None:
    ending = channel()
    ending.put(ending.wire(RuntimeData.text("last")))
    ending.end()
    ending.end()
    assert not ending.over
    assert ending.take() is not None
    assert (ending.over, ending.take()) == (True, None)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (RuntimeData.binary(b"x" * 1001), MessageTooLargeError, r"1001 bytes is larger than channel 'a_to_b' takes"),
        (RuntimeData.binary(b"x" * 1001), MessageTooLargeError, r"\(1000\); raise max_message_size"),
        (RuntimeData.json({"a": object()}), DataError, "object"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_setting_to_raise(
    value: RuntimeData, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        channel().wire(value)


@pytest.mark.parametrize(("waited", "words"), [(None, "'a_to_b'; increase"), (0.5, "'a_to_b' after waiting 0.5s; ")])
def test_a_full_channel_is_told_with_advice(waited: float | None, words: str) -> None:
    text = str(channel_full("a_to_b", waited))
    assert text.startswith("Buffer at capacity (backpressure active): channel ")
    assert words in text
    assert text.endswith("increase channel_capacity, speed up its reader, or choose a dropping overflow policy")


# -- a whole session of one node ---------------------------------------------------------------------------------------


class Echo(MultiprocessNode):
    """Answers; dies and refuses on demand, and hangs in `initialize` if so told."""

    async def initialize(self) -> None:
        if self.config.get("hangs"):
            await asyncio.sleep(3600)

    async def process(self, data: RuntimeData) -> RuntimeData:
        if data.as_text() == "die":
            raise ValueError("told to")
        return data

    def on_parameters(self, parameters: dict[str, Any]) -> None:
        raise ValueError("refused")

    def cleanup(self) -> None:
        raise OSError("cleanup is never quite right")


async def engine(monkeypatch: pytest.MonkeyPatch, *, start: bool = True, **settings_: Any) -> InlineEngine:
    monkeypatch.setitem(registry._TYPES, "anything", Echo)
    crashes: list[ExitRecord] = []
    made = InlineEngine(
        "s1", planned("a", cleanup_grace_period_secs=0.05, **settings_), script=None, on_crash=crashes.append
    )
    await made.initialize(None)
    if start:
        await made.start()
    return made


async def test_it_works_and_a_cleanup_that_raises_does_not_spoil_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = await engine(monkeypatch)
    plan = made.plan
    await made.send(plan.input_channel("in"), RuntimeData.text("hello"), None)
    assert (await made.receive(plan.output_channel("out"), 60)).as_text() == "hello"
    made.end(plan.input_channel("in"))
    with pytest.raises(EndOfStream, match="has ended"):
        await made.receive(plan.output_channel("out"), 60)
    await made.ended
    with pytest.raises(SessionError, match="has ended; nothing can be sent any more"):
        made.try_send(plan.input_channel("in"), RuntimeData.text("x"))
    await made.close()
    await made.close()
    assert "cleanup of node a raised" in caplog.text
    assert made.status().state == "closed"


async def test_a_full_input_is_told_by_time_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = await engine(monkeypatch, start=False)
    source = made.plan.input_channel("in")
    for _ in range(source.capacity):
        assert made.try_send(source, RuntimeData.text("x"))
    with pytest.raises(ChannelFullError, match=r"Buffer at capacity .* after waiting 0\.01s"):
        await made.send(source, RuntimeData.text("x"), 0.01)
    with pytest.raises(ChannelFullError, match="Buffer at capacity"):
        made.try_send(source, RuntimeData.text("x"))
    with pytest.raises(TimeoutError, match=r"nothing came from .* within 0\.01s"):
        await made.receive(made.plan.output_channel("out"), 0.01)
    await made.close()


async def test_parameters_that_a_node_refuses_reach_the_caller_and_a_crash_reaches_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = await engine(monkeypatch)
    with pytest.raises(ValueError, match="refused"):
        await made.parameters("a", {"x": 1})
    receiving = asyncio.create_task(made.receive(made.plan.output_channel("out"), 60))
    await made.send(made.plan.input_channel("in"), RuntimeData.text("die"), None)
    for waiting in (receiving, made.ended):
        with pytest.raises(SessionError, match="Node 'a' exited with code 1: ValueError: told to"):
            await waiting
    assert made.facts().state == "failed"
    await made.close()


async def test_a_start_that_hangs_is_the_documented_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Echo, "config", {"hangs": True}, raising=False)
    monkeypatch.setattr(Echo, "_checked", lambda self, config: {"hangs": True})
    with pytest.raises(InitTimeout, match=r"Node 'a' failed to initialize within 0\.02s") as caught:
        await engine(monkeypatch, init_timeout_secs=0.02)
    assert caught.value.node_id == "a"
