"""Both drivers, over an arena that is plain memory: what a node may return, the order of things, and interruptions."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import pytest

from ringline.control.messages import MessageType
from ringline.data import RuntimeData
from ringline.errors import NodeError
from ringline.node import signals
from ringline.node.base import MultiprocessNode, SourceNode
from ringline.node.commands import Terminated
from tests.unit.node.fakes import Channel, Rig


def later(action: Callable[[], Any], delay_s: float = 0.05) -> threading.Timer:
    """Act after a while, which may be before the node has begun: for tests that hold either way."""
    timer = threading.Timer(delay_s, action)
    timer.start()
    return timer


def when(condition: Callable[[], object], action: Callable[[], Any]) -> threading.Thread:
    """Act once something is so, however long the node takes on a busy machine."""

    def work() -> None:
        while not condition():
            time.sleep(0.001)
        action()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


class Upper(MultiprocessNode):
    def process(self, data: RuntimeData) -> RuntimeData:
        return RuntimeData.text(data.as_text().upper())


class UpperAsync(MultiprocessNode):
    async def process(self, data: RuntimeData) -> RuntimeData:
        await asyncio.sleep(0)
        return RuntimeData.text(data.as_text().upper())


class Letters(MultiprocessNode):
    def process(self, data: RuntimeData) -> Iterator[str]:
        yield from data.as_text()


class LettersAsync(MultiprocessNode):
    async def process(self, data: RuntimeData) -> AsyncIterator[str]:
        for letter in data.as_text():
            await asyncio.sleep(0)
            yield letter


@pytest.mark.parametrize("cls", [Upper, UpperAsync])
def test_each_message_is_answered_in_order_until_the_end_of_the_stream(cls: type[MultiprocessNode]) -> None:
    rig = Rig(cls)
    rig.feed("a", "b", "c", end=True)
    assert rig.run() == ["A", "B", "C"]
    assert rig.arena.channels["out_output"].ended


@pytest.mark.parametrize("cls", [Letters, LettersAsync])
def test_a_generator_sends_item_by_item(cls: type[MultiprocessNode]) -> None:
    rig = Rig(cls)
    rig.feed("ab", "cd", end=True)
    assert rig.run() == ["a", "b", "c", "d"]


@pytest.mark.parametrize("cls", [Upper, UpperAsync])
def test_a_waiting_node_is_woken_by_its_input(cls: type[MultiprocessNode]) -> None:
    rig = Rig(cls)
    timer = later(lambda: rig.feed("late", end=True))
    assert rig.run() == ["LATE"]
    assert rig.arena.beats[-1] is False or rig.arena.beats == [True]
    assert len(rig.arena.observed) == 1
    timer.join()


@pytest.mark.parametrize("cls", [Upper, UpperAsync])
def test_nothing_is_read_before_the_start(cls: type[MultiprocessNode]) -> None:
    rig = Rig(cls)
    rig.feed("early", end=True)
    seen: list[int] = []

    def look_and_start() -> None:
        seen.append(len(rig.arena.channels["in_input"].queue))
        rig.order(MessageType.START)

    timer = later(look_and_start)
    try:
        rig.driver.run()
    finally:
        rig.driver.close()
        rig.arena.close()
    timer.join()
    assert seen == [1]
    assert rig.sent() == ["EARLY"]


class Split(MultiprocessNode):
    outputs = {"left": "text", "right": "text", "unused": "text"}  # noqa: RUF012

    def process(self, data: RuntimeData) -> dict[str, Any]:
        self.emit("right", "first")
        return {"left": data, "right": ["second", "third"], "unused": "nobody"}


def test_a_mapping_goes_to_its_ports_and_emitted_messages_go_first() -> None:
    rig = Rig(Split, out_left=Channel(), out_right=Channel())
    rig.feed("x", end=True)
    assert rig.run() == ["x"]
    assert rig.sent("right") == ["first", "second", "third"]


def test_an_unknown_port_is_an_error_that_names_the_known_ones() -> None:
    class Wrong(MultiprocessNode):
        outputs = {"left": "text"}  # noqa: RUF012

        def process(self, data: RuntimeData) -> dict[str, Any]:
            return {"lef": data}

    rig = Rig(Wrong, out_left=Channel())
    rig.feed("x", end=True)
    with pytest.raises(NodeError, match=r"no output port 'lef' \(it has: left\)"):
        rig.run()


def test_a_message_without_a_port_needs_one_output_or_a_declaration() -> None:
    rig = Rig(Upper, out_a=Channel(), out_b=Channel())
    rig.feed("x", end=True)
    with pytest.raises(NodeError, match=r"return a mapping like \{'a': data\}"):
        rig.run()


class Same(MultiprocessNode):
    def process(self, data: RuntimeData) -> RuntimeData:
        return data


class View(MultiprocessNode):
    def process(self, data: RuntimeData) -> RuntimeData:
        return RuntimeData.tensor(data.as_numpy()[1:])


class Lent(MultiprocessNode):
    def process(self, data: RuntimeData) -> RuntimeData:
        array = self.loan((2, 3), "float32")
        array[:] = 7
        self.loan(10)
        return RuntimeData.tensor(array)


class LentAsync(MultiprocessNode):
    async def process(self, data: RuntimeData) -> RuntimeData:
        array = self.loan(6, np.float32)
        array[:] = 7
        return RuntimeData.tensor(array)


@pytest.mark.parametrize(
    ("cls", "verb"), [(Same, "forward"), (View, "send"), (Lent, "commit"), (LentAsync, "commit"), (Upper, "send")]
)
def test_only_what_must_be_copied_is_copied(cls: type[MultiprocessNode], verb: str) -> None:
    rig = Rig(cls)
    rig.feed("x" if cls is Upper else np.arange(4.0), end=True)
    rig.run()
    assert rig.arena.channels["out_output"].how == [verb]


def test_a_loan_that_is_not_sent_goes_back() -> None:
    rig = Rig(Lent)
    rig.feed(np.zeros(1), end=True)
    rig.run()
    assert [loan.discarded for loan in rig.arena.loans] == [False, True]


@pytest.mark.parametrize("cls", [Upper, UpperAsync])
def test_a_result_inherits_the_time_at_which_its_cause_entered(cls: type[MultiprocessNode]) -> None:
    rig = Rig(cls)
    first, second = RuntimeData.text("a"), RuntimeData.text("b")
    first.origin, second.origin = 111, 222
    rig.feed(first, second, end=True)
    rig.run()
    assert [fields[4] for _, fields in rig.arena.channels["out_output"].queue] == [111, 222]


class Both(MultiprocessNode):
    def process(self, data: RuntimeData) -> str:
        return data.port


def test_no_input_starves_while_another_one_is_busy() -> None:
    rig = Rig(Both, inputs=("a", "b"))
    rig.feed(*"xxxx", port="a", end=True)
    rig.feed(*"xx", port="b", end=True)
    assert rig.run() == ["a", "b", "a", "b", "a", "a"]


def test_a_join_may_end_with_its_first_input() -> None:
    class Join(Both):
        ends_with_first_input = True

    rig = Rig(Join, inputs=("a", "b"))
    rig.feed("x", port="a", end=True)
    rig.feed("x", port="b")
    assert rig.run() == ["a", "b"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_is_left_is_sent_at_the_end(asynchronous: bool) -> None:
    class Sum(MultiprocessNode):
        total = 0

        def process(self, data: RuntimeData) -> None:
            self.total += int(data.as_text())

        def on_end(self) -> str:
            return str(self.total)

    class SumAsync(Sum):
        async def process(self, data: RuntimeData) -> None:  # type: ignore[override]
            self.total += int(data.as_text())

        async def on_end(self) -> AsyncIterator[str]:  # type: ignore[override]
            yield str(self.total)

    rig = Rig(SumAsync if asynchronous else Sum)
    rig.feed("1", "2", end=True)
    assert rig.run() == ["3"]


class Endless(MultiprocessNode):
    """`begun` and `closed` count the messages whose work has begun and was left."""

    flushed = 0
    begun = 0
    closed = 0

    def on_flush(self) -> None:
        self.flushed += 1


class EndlessSync(Endless):
    def process(self, data: RuntimeData) -> Iterator[str]:
        self.begun += 1
        try:
            while data.as_text() == "endless":
                time.sleep(0.002)
                yield "old"
            yield data.as_text()
        finally:
            self.closed += 1


class EndlessAsync(Endless):
    async def process(self, data: RuntimeData) -> AsyncIterator[str]:
        self.begun += 1
        try:
            while data.as_text() == "endless":
                await asyncio.sleep(0.002)
                yield "old"
            yield data.as_text()
        finally:
            self.closed += 1


class StuckAsync(Endless):
    async def process(self, data: RuntimeData) -> str:
        self.begun += 1
        try:
            if data.as_text() == "endless":
                await asyncio.sleep(1000)
        finally:
            self.closed += 1
        return data.as_text()


@pytest.mark.parametrize("cls", [EndlessSync, EndlessAsync, StuckAsync])
def test_a_flush_stops_the_work_in_hand_and_the_node_goes_on(cls: type[Endless]) -> None:
    rig = Rig(cls)
    rig.feed("endless")

    def flush_and_go_on() -> None:
        rig.flush()
        rig.feed("new", end=True)

    node: Any = rig.node
    thread = when(lambda: node.begun, flush_and_go_on)
    assert rig.run() == ["new"]
    thread.join()
    assert (node.flushed, node.closed) == (1, 2)
    assert len(rig.answers(MessageType.FLUSHED)) == 1


@pytest.mark.parametrize("cls", [EndlessSync, EndlessAsync, StuckAsync])
def test_a_cancel_drops_the_work_in_hand_only(cls: type[Endless]) -> None:
    rig = Rig(cls)
    rig.feed("endless", "next", end=True)
    node: Any = rig.node
    thread = when(lambda: node.begun, lambda: rig.order(MessageType.CANCEL))
    assert [text for text in rig.run() if text != "old"] == ["next"]
    thread.join()
    assert rig.answers(MessageType.CANCEL)


@pytest.mark.parametrize("cls", [Upper, UpperAsync])
def test_an_idle_node_hears_a_flush_too(cls: type[MultiprocessNode]) -> None:
    rig = Rig(cls)

    def flush_then_end() -> None:
        rig.flush()
        later(lambda: rig.feed(end=True))

    later(flush_then_end)
    rig.run()
    assert rig.answers(MessageType.FLUSHED)


@pytest.mark.parametrize("cls", [EndlessSync, EndlessAsync, StuckAsync, Upper, UpperAsync])
def test_a_shutdown_ends_the_node_whatever_it_does(cls: type[MultiprocessNode]) -> None:
    rig = Rig(cls)
    if cls not in (Upper, UpperAsync):
        rig.feed("endless")
    timer = later(lambda: rig.order(MessageType.SHUTDOWN))
    with pytest.raises(Terminated) as ended:
        rig.run()
    timer.join()
    assert ended.value.code == 0
    assert rig.answers(MessageType.SHUTDOWN_ACK)
    assert not rig.arena.channels["out_output"].ended


class Tunable(MultiprocessNode):
    gain = 1

    async def on_parameters(self, parameters: dict[str, Any]) -> None:
        self.gain = int(parameters["gain"])

    def process(self, data: RuntimeData) -> str:
        return data.as_text() * self.gain


class TunableAsync(Tunable):
    async def process(self, data: RuntimeData) -> str:  # type: ignore[override]
        return data.as_text() * self.gain


@pytest.mark.parametrize("cls", [Tunable, TunableAsync])
def test_parameters_change_a_running_node_and_bad_ones_are_refused(cls: type[Tunable]) -> None:
    rig = Rig(cls)
    good = rig.order(MessageType.CONFIG_UPDATE, {"parameters": {"gain": 3}})
    bad = rig.order(MessageType.CONFIG_UPDATE, {"parameters": {"gain": "loud"}})
    rig.feed("x", end=True)
    assert rig.run() == ["xxx"]
    answers = {answer.message_id: answer.payload for answer in rig.answers(MessageType.CONFIG_UPDATE)}
    assert answers[good.message_id] == {"ok": True, "error": ""}
    assert answers[bad.message_id]["error"].startswith("ValueError: invalid literal")


class Count(SourceNode):
    limit = 3
    closed = False

    def produce(self) -> Iterator[str]:
        try:
            number = 0
            while number < self.limit:
                number += 1
                yield str(number)
                time.sleep(0.001)
        finally:
            self.closed = True


class CountAsync(Count):
    async def produce(self) -> AsyncIterator[str]:  # type: ignore[override]
        try:
            for number in range(1, self.limit + 1):
                yield str(number)
                await asyncio.sleep(0.001 if self.limit < 10 else 1000)
        finally:
            self.closed = True


class CountForEver(Count):
    limit = 10**9


class CountForEverAsync(CountAsync):
    limit = 10**9


@pytest.mark.parametrize("cls", [Count, CountAsync])
def test_a_source_ends_its_stream_when_it_is_exhausted(cls: type[Count]) -> None:
    rig = Rig(cls, inputs=())
    assert rig.run() == ["1", "2", "3"]
    assert rig.arena.channels["out_output"].ended


@pytest.mark.parametrize("cls", [CountForEver, CountForEverAsync])
def test_a_source_that_is_stopped_is_closed_and_ends_its_stream(cls: type[Count]) -> None:
    rig = Rig(cls, inputs=(), out_output=Channel(capacity=10**6))
    channel = rig.arena.channels["out_output"]
    thread = when(lambda: channel.sent, lambda: rig.order(MessageType.STOP))
    assert rig.run()[:1] == ["1"]
    thread.join()
    assert channel.ended
    assert rig.node.closed  # type: ignore[attr-defined]


def test_a_flushed_source_goes_on_without_what_it_had_in_hand() -> None:
    rig = Rig(CountForEver, inputs=(), out_output=Channel(capacity=10**6))
    channel = rig.arena.channels["out_output"]

    def flush_and_stop() -> None:
        for number, act in ((1, rig.flush), (2, lambda: rig.order(MessageType.STOP))):
            while channel.sent < 10 * number or not channel.queue:
                time.sleep(0.001)
            act()

    timer = later(flush_and_stop)
    numbers = [int(text) for text in rig.run()]
    timer.join()
    assert numbers[0] > 1
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("cls", [Letters, LettersAsync])
def test_a_full_channel_holds_its_producer_back(cls: type[MultiprocessNode]) -> None:
    rig = Rig(cls, out_output=Channel(capacity=2))
    rig.feed("abcdef", end=True)
    taken: list[Any] = []
    most: list[int] = []

    def read() -> None:
        channel = rig.arena.channels["out_output"]
        while len(taken) < 6:
            time.sleep(0.005)
            with rig.arena.changed:
                most.append(len(channel.queue))
                if channel.queue:
                    taken.append(channel.queue.popleft())
                rig.arena.changed.notify_all()
            rig.arena.wake()

    reader = threading.Thread(target=read)
    reader.start()
    rig.run()
    reader.join()
    assert max(most) == 2
    assert len(taken) == 6


def test_an_async_node_that_waited_too_long_for_room_drops_the_message() -> None:
    rig = Rig(UpperAsync, block_timeout_s=0.02, out_output=Channel(capacity=1))
    rig.feed("a", "b", "c", end=True)
    assert rig.run() == ["A"]
    assert rig.arena.timeouts == 2


def test_a_shutdown_breaks_into_a_blocked_send() -> None:
    rig = Rig(Upper, out_output=Channel(capacity=1))
    rig.feed("a", "b")
    channels = rig.arena.channels
    full = when(
        lambda: channels["out_output"].sent == 1 and not channels["in_input"].queue,
        lambda: rig.order(MessageType.SHUTDOWN),
    )
    with signals.installed(lambda: rig.outbox.blocked), pytest.raises(Terminated):
        rig.run()
    full.join()
    assert rig.sent() == ["A"]


def test_background_tasks_of_an_async_node_may_send() -> None:
    class Ticker(MultiprocessNode):
        async def initialize(self) -> None:
            self.task = asyncio.get_running_loop().create_task(self.tick())

        async def tick(self) -> None:
            await self.emit_async(None, "tick")

        async def process(self, data: RuntimeData) -> RuntimeData:
            await self.task
            return data

    rig = Rig(Ticker)
    rig.feed("data", end=True)
    assert rig.run() == ["tick", "data"]


@pytest.mark.parametrize("cls", [Upper, UpperAsync])
def test_an_error_of_the_author_reaches_the_runner(cls: type[MultiprocessNode]) -> None:
    rig = Rig(cls)
    rig.feed(np.zeros(3))
    with pytest.raises(ValueError, match="is not text"):
        rig.run()
