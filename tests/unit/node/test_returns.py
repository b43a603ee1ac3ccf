"""What a node may return, one table for every way of running it: both drivers, the harness and the inline session."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringline.control.messages import MessageType
from ringline.data import RuntimeData
from ringline.errors import DataError, NodeError
from ringline.graph.layout import ChannelPlan
from ringline.host.inline_channel import Bell, InlineChannel
from ringline.host.inline_node import InlineNode
from ringline.node import registry
from ringline.node.base import MultiprocessNode, SourceNode, create
from ringline.node.drive import parameters_of
from ringline.testing import NodeHarness
from tests.unit.node.fakes import Channel, Rig

T = RuntimeData.text


def generator(*items: Any) -> Any:
    yield from items


async def later(result: Any) -> Any:
    await asyncio.sleep(0)
    return result


async def agenerator(*items: Any) -> Any:
    for item in items:
        await asyncio.sleep(0)
        yield item


KINDS: dict[str, tuple[Callable[[], Any], list[Any]]] = {
    "nothing": (lambda: None, []),
    "a message": (lambda: T("x"), ["x"]),
    "text": (lambda: "x", ["x"]),
    "bytes": (lambda: b"xy", [b"xy"]),
    "an array": (lambda: np.arange(2.0), [[0.0, 1.0]]),
    "a list": (lambda: ["x", T("y"), None], ["x", "y"]),
    "a tuple": (lambda: ("x", ("y", ["z"])), ["x", "y", "z"]),
    "an empty list": (list, []),
    "a mapping": (lambda: {"output": "x"}, ["x"]),
    "a mapping to several": (lambda: {"output": ["x", "y"]}, ["x", "y"]),
    "a mapping to nothing": (lambda: {"output": None}, []),
    "a mapping to JSON": (lambda: {"output": {"a": 1}}, [{"a": 1}]),
    "a generator": (lambda: generator("x", ["y", "z"], None, {"output": "u"}), ["x", "y", "z", "u"]),
    "an empty generator": (generator, []),
    "an async generator": (lambda: agenerator("x", None, ["y"]), ["x", "y"]),
}
WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a mapping of numbers": (lambda: {1: "x"}, DataError, "has port names as keys, not 1"),
    "objects": (lambda: np.array([object()]), DataError, "object"),
    "its own error": (lambda: 1 // 0, ZeroDivisionError, "division"),
    "an error after an item": (lambda: (n for n in ("x", *map(int, ["?"]))), ValueError, "invalid literal"),
}
ENDED: list[Any] = []


def node_of(make: Callable[[], Any], *, asynchronous: bool, at_end: bool = False) -> type[MultiprocessNode]:
    """Make a class whose `process` (or `on_end`) returns what `make` gives."""

    class Sync(MultiprocessNode):
        def process(self, data: RuntimeData) -> Any:
            return None if at_end else make()

        def on_end(self) -> Any:
            return make() if at_end else None

    class Async(MultiprocessNode):
        async def process(self, data: RuntimeData) -> Any:
            return await later(None if at_end else make())

        async def on_end(self) -> Any:
            return await later(make() if at_end else None)

    return Async if asynchronous else Sync


def driven(cls: type[MultiprocessNode]) -> list[Any]:
    rig = Rig(cls)
    rig.feed("in", end=True)
    return rig.run()


def harnessed(cls: type[MultiprocessNode]) -> list[Any]:
    async def run() -> list[Any]:
        async with NodeHarness(cls) as harness:
            return [output.data.payload for output in (*await harness.send("in"), *await harness.end())]

    return asyncio.run(run())


def inline(cls: type[MultiprocessNode]) -> list[Any]:
    async def run() -> list[Any]:
        bell = Bell()
        channels = [InlineChannel(channel(name), bell, "s1", 1 << 16) for name in ("in", "out")]
        node = InlineNode(
            "n", inputs={"input": channels[0]}, outputs={"output": [channels[1]]}, bell=bell, session_id="s1",
            on_progress=lambda *_: None,
        )  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(registry._TYPES, "under_test", cls)
            await node.load("under_test", {})
        channels[0].put(channels[0].wire(T("in")))
        channels[0].end()
        await node.work()
        assert channels[1].ended
        found = []
        while (data := channels[1].take()) is not None:
            found.append(data.payload)
        return found

    return asyncio.run(run())


def channel(name: str, **changes: Any) -> ChannelPlan:
    fields: dict[str, Any] = {
        "index": 0, "name": name, "producer": "a", "producer_port": "output", "consumer": "b",
        "consumer_port": "input", "capacity": 100, "overflow": "block", "block_timeout_ms": 0, "deadline_ms": 0,
        "kind": "any",
    }  # fmt: skip
    return ChannelPlan(**(fields | changes))


def plain(payloads: list[Any]) -> list[Any]:
    return [
        each.tolist()
        if isinstance(each, np.ndarray)
        else bytes(each)
        if isinstance(each, (memoryview, bytes))
        else each
        for each in payloads
    ]


RUNS = [pytest.param(run, id=run.__name__) for run in (driven, harnessed, inline)]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_result_is_sent(run: Callable[..., list[Any]], asynchronous: bool, kind: str) -> None:
    make, expected = KINDS[kind]
    assert plain(run(node_of(make, asynchronous=asynchronous))) == expected


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_at_the_end_may_be_any_of_them(
    run: Callable[..., list[Any]], asynchronous: bool, kind: str
) -> None:
    make, expected = KINDS[kind]
    assert plain(run(node_of(make, asynchronous=asynchronous, at_end=True))) == expected


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("at_end", [False, True], ids=["process", "on_end"])
@pytest.mark.parametrize("kind", WRONG)
def test_what_can_not_be_sent_is_the_authors_error(
    run: Callable[..., list[Any]], asynchronous: bool, at_end: bool, kind: str
) -> None:
    make, error, text = WRONG[kind]
    with pytest.raises(error, match=text):
        run(node_of(make, asynchronous=asynchronous, at_end=at_end))


results = st.recursive(
    st.none() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner), max_leaves=8
)


def flat(result: Any) -> list[str]:
    if isinstance(result, (list, tuple)):
        return [text for item in result for text in flat(item)]
    return [] if result is None else [result]


@settings(max_examples=25)
@given(results, st.booleans())
def test_nested_results_come_out_in_order_from_both_drivers(result: Any, streamed: bool) -> None:
    make: Callable[[], Any] = (lambda: generator(result)) if streamed else (lambda: result)
    for asynchronous in (False, True):
        assert driven(node_of(make, asynchronous=asynchronous)) == flat(result)


# -- several inputs, sources, interruptions ----------------------------------------------------------------------------


class Tell(MultiprocessNode):
    async def process(self, data: RuntimeData) -> str:
        return f"{data.port}{data.as_text()}"

    def on_end(self) -> str:
        return "end"


class TellSync(MultiprocessNode):
    def process(self, data: RuntimeData) -> str:
        return f"{data.port}{data.as_text()}"

    def on_end(self) -> str:
        return "end"


@pytest.mark.parametrize("cls", [Tell, TellSync])
@settings(max_examples=15)
@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_a_node_ends_when_its_last_input_has_and_every_input_keeps_its_order(
    cls: type[MultiprocessNode], counts: list[int]
) -> None:
    ports = [f"p{index}-" for index in range(len(counts))]
    rig = Rig(cls, inputs=ports)
    for port, count in zip(ports, counts, strict=True):
        rig.feed(*map(str, range(count)), port=port, end=True)
    *said, last = rig.run()
    assert last == "end"
    assert len(said) == sum(counts)
    for port, count in zip(ports, counts, strict=True):
        assert [text for text in said if text.startswith(port)] == [f"{port}{number}" for number in range(count)]
    turns = [text[:3] for text in said]
    assert turns[: sum(1 for count in counts if count)] == [p for p, count in zip(ports, counts, strict=True) if count]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_item_that_was_flushed_while_it_was_made_is_dropped(asynchronous: bool) -> None:
    rigs: list[Rig] = []
    closed: list[str] = []

    def steps() -> Any:
        try:
            yield "before"
            rigs[0].flush()
            yield "after"
            yield "never asked for"
        finally:
            closed.append("closed")

    class Sync(MultiprocessNode):
        def process(self, data: RuntimeData) -> Any:
            return steps() if data.as_text() == "long" else data

        def on_flush(self) -> None:
            closed.append("flushed")
            rigs[0].feed("next", end=True)

    class Async(Sync):
        async def process(self, data: RuntimeData) -> Any:
            return Sync.process(self, data)

    rigs.append(Rig(Async if asynchronous else Sync))
    rigs[0].feed("long")
    assert rigs[0].run() == ["next"]
    assert closed == ["closed", "flushed"]
    assert [answer.payload for answer in rigs[0].answers(MessageType.FLUSHED)] == [{"generation": 1}]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("kind", ["nothing", "a message", "a list", "a generator", "an async generator"])
def test_a_source_may_produce_in_every_way(asynchronous: bool, kind: str) -> None:
    make, expected = KINDS[kind]

    class Sync(SourceNode):
        def produce(self) -> Any:
            return make()

    class Async(SourceNode):
        async def produce(self) -> Any:
            return await later(make())

    async def collected() -> list[Any]:
        async with NodeHarness(Async if asynchronous else Sync) as harness:
            return [output.data.payload for output in await harness.collect()]

    rig = Rig(Async if asynchronous else Sync, inputs=())
    assert rig.run() == expected
    assert rig.arena.channels["out_output"].ended
    assert asyncio.run(collected()) == expected


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_source_that_fails_halfway_has_sent_what_it_made(asynchronous: bool) -> None:
    class Sync(SourceNode):
        def produce(self) -> Any:
            yield "one"
            raise OSError("unplugged")

    class Async(SourceNode):
        async def produce(self) -> Any:
            yield "one"
            raise OSError("unplugged")

    rig = Rig(Async if asynchronous else Sync, inputs=())
    with pytest.raises(OSError, match="unplugged"):
        rig.run()
    assert rig.sent() == ["one"]
    assert not rig.arena.channels["out_output"].ended


@pytest.mark.parametrize("cls", [MultiprocessNode, SourceNode])
def test_a_class_without_its_method_says_so(cls: type[MultiprocessNode]) -> None:
    class Empty(cls):  # type: ignore[misc, valid-type]
        pass

    rig = Rig(Empty, inputs=() if issubclass(cls, SourceNode) else ("input",))
    if cls is MultiprocessNode:
        rig.feed("x", end=True)
    with pytest.raises(NodeError, match="Empty defines no"):
        rig.run()


def test_nothing_can_be_sent_before_the_channels_are_open() -> None:
    class Early(MultiprocessNode):
        def initialize(self) -> None:
            self.emit(None, "too early")

    with pytest.raises(NodeError, match="node 'node' can't send before it is ready"):
        Rig(Early)
    lonely = create(MultiprocessNode, "lonely", {})
    with pytest.raises(NodeError, match="node 'lonely' can send only while it runs"):
        lonely.emit(None, "x")


@pytest.mark.parametrize(("shape", "dtype"), [(-1, "uint8"), ((-2, 3), "uint8"), (3, "object"), ((2,), [("x", "O")])])
def test_a_loan_that_is_no_array_is_refused(shape: Any, dtype: Any) -> None:
    class Borrow(MultiprocessNode):
        def process(self, data: RuntimeData) -> Any:
            return self.loan(shape, dtype)

    with pytest.raises(NodeError, match="is not an array that can be sent"):
        driven(Borrow)


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        ({"parameters": {"a": 1}}, {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ({}, {}),
        ({"parameters": None}, {}),
        ({"parameters": [1]}, {}),
    ],
)
def test_parameters_are_found_under_their_key_or_as_the_whole(payload: dict[str, Any], found: dict[str, Any]) -> None:
    rig = Rig(TellSync)
    assert parameters_of(rig.order(MessageType.CONFIG_UPDATE, payload)) == found
    rig.feed(end=True)
    assert rig.run() == ["end"]


@pytest.mark.parametrize("cls", [Tell, TellSync])
def test_one_message_goes_to_every_channel_of_a_port_and_unconnected_ports_swallow(
    cls: type[MultiprocessNode],
) -> None:
    class Split(cls):  # type: ignore[misc, valid-type]
        outputs = {"left": "text", "right": "text"}  # noqa: RUF012

        def on_end(self) -> Any:
            return {"left": "L", "right": "R"}

    rig = Rig(Split, out_left=Channel())
    rig.feed("1", end=True)
    assert rig.run() == ["input1", "L"]
    assert inspect.iscoroutinefunction(cls.process) is (cls is Tell)
