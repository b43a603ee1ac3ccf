"""`NodeHarness` treats a node as a session does, so that a test of a node means something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel, Field

from ringline.data import RuntimeData
from ringline.errors import NodeConfigError, NodeError
from ringline.node.base import MultiprocessNode, Node, SourceNode
from ringline.testing import NodeHarness, Output


class Louder(MultiprocessNode):
    """Makes audio louder."""

    inputs = {"audio": "audio"}  # noqa: RUF012
    outputs = {"audio": "audio", "level": "json"}  # noqa: RUF012

    class Config(BaseModel, extra="forbid"):
        factor: float = Field(2.0, gt=0)
        mode: Literal["clip", "wrap"] = "clip"

    async def initialize(self) -> None:
        self.steps = ["initialize"]
        self.report_progress(0.5, "half of it")
        self.report_progress(7)

    def warmup(self) -> None:
        self.steps.append("warmup")

    async def process(self, data: RuntimeData) -> dict[str, Any]:
        self.metrics.counter("blocks").inc()
        return {"audio": data.as_numpy() * self.options.factor, "level": {"peak": float(data.as_numpy().max())}}

    def on_flush(self) -> None:
        self.steps.append("flush")

    def on_parameters(self, parameters: dict[str, Any]) -> None:
        self.options = self.options.model_copy(update=parameters)

    async def on_end(self) -> AsyncIterator[dict[str, Any]]:
        yield {"level": {"blocks": self.metrics.counter("blocks").value}}

    def cleanup(self) -> None:
        self.steps.append("cleanup")


async def test_a_node_lives_its_life_and_what_it_sends_comes_back() -> None:
    async with NodeHarness(Louder, {"factor": 3}, node_id="loud") as harness:
        audio, level = await harness.send(RuntimeData.audio(np.ones(4, "f4"), 16000, 1))
        assert isinstance(audio, Output)
        assert (audio.port, audio.data.as_numpy().tolist()) == ("audio", [3.0] * 4)
        assert (level.port, level.data.payload) == ("level", {"peak": 1.0})
        await harness.flush()
        await harness.parameters(factor=5.0)
        assert (await harness.send(np.ones(2, "f4")))[0].data.as_numpy().tolist() == [5.0, 5.0]
        assert (await harness.end())[0].data.payload == {"blocks": 2}
        node = harness.node
        assert (node.node_id, node.session_id, node.input_ports) == ("loud", "harness", ("audio",))
    assert node.steps == ["initialize", "warmup", "flush", "cleanup"]  # type: ignore[attr-defined]
    assert harness.progress_reports == [(0.5, "half of it"), (1.0, "")]


def test_config_is_checked_and_filled_with_defaults() -> None:
    node = NodeHarness(Louder, {"factor": "2.5"}).node
    assert node.config == {"factor": 2.5, "mode": "clip"}
    with pytest.raises(NodeConfigError) as refused:
        NodeHarness(Louder, {"factor": "loud", "mode": "bend", "facto": 1}, node_id="n")
    text = str(refused.value)
    assert text.startswith("node 'n' (Louder) refuses its configuration: ")
    for part in (
        "config.factor must be a number, not 'loud'",
        "config.mode 'bend' is not allowed",
        "did you mean 'factor'",
    ):
        assert part in text


async def test_received_arrays_are_read_only_and_know_their_port() -> None:
    class Look(MultiprocessNode):
        def process(self, data: RuntimeData) -> str:
            with pytest.raises(ValueError, match="read-only"):
                data.as_numpy()[0] = 1
            return f"{data.port} {data.sequence} {data.session_id}"

    async with NodeHarness(Look, inputs=("a", "b")) as harness:
        array = np.zeros(3)
        assert [output.data.payload for output in await harness.send(array, port="b")] == ["b 0 harness"]
        array[0] = 1
        with pytest.raises(NodeError, match=r"no input port 'c' \(it has: a, b\)"):
            await harness.send(array, port="c")


async def test_a_node_without_a_process_says_so() -> None:
    async with NodeHarness(Node, node_id="empty") as harness:
        with pytest.raises(NodeError, match=r"defines no process\(data\)"):
            await harness.send("text")
    async with NodeHarness(SourceNode) as source:
        with pytest.raises(NodeError, match=r"defines no produce\(\)"):
            await source.collect()


async def test_a_generator_stops_at_a_flush() -> None:
    class Many(MultiprocessNode):
        closed = False

        async def process(self, data: RuntimeData) -> AsyncIterator[str]:
            try:
                for number in range(1000):
                    await asyncio.sleep(0.001)
                    yield str(number)
            finally:
                self.closed = True

    async with NodeHarness(Many) as harness:
        sending = asyncio.ensure_future(harness.send("go"))
        await asyncio.sleep(0.02)
        await harness.flush()
        assert await sending == []
        assert harness.node.closed  # type: ignore[attr-defined]


async def test_messages_of_background_tasks_can_be_awaited() -> None:
    class Timer(MultiprocessNode):
        async def initialize(self) -> None:
            self.task = asyncio.ensure_future(self.tick())

        async def tick(self) -> None:
            await asyncio.sleep(0.01)
            await self.emit_async("output", "tick")

    async with NodeHarness(Timer) as harness:
        assert (await harness.receive()).data.payload == "tick"
        with pytest.raises(TimeoutError):
            await harness.receive(timeout_s=0.01)


async def test_a_loan_and_an_emitted_message_come_back_like_any_other() -> None:
    class Lender(MultiprocessNode):
        def process(self, data: RuntimeData) -> RuntimeData:
            self.emit("output", "before")
            frame = self.loan((2, 2))
            frame[:] = 5
            return RuntimeData.tensor(frame)

    async with NodeHarness(Lender) as harness:
        first, second = await harness.send("go")
        assert first.data.payload == "before"
        assert second.data.as_numpy().sum() == 20


class Numbers(SourceNode):
    closed = 0

    def produce(self) -> Iterator[str]:
        try:
            for number in range(5):
                yield str(number)
        finally:
            self.closed += 1


async def test_a_source_is_collected_in_part_or_whole_and_closed_either_way() -> None:
    async with NodeHarness(Numbers) as harness:
        assert [output.data.payload for output in await harness.collect(2)] == ["0", "1"]
        assert len(await harness.collect()) == 5
        assert await harness.collect(0) == []
        assert harness.node.closed == 2  # type: ignore[attr-defined]
        with pytest.raises(NodeError, match="use send"):
            async with NodeHarness(Louder) as other:
                await other.collect()


async def test_a_node_that_fails_to_initialize_is_cleaned_up() -> None:
    cleaned = []

    class Broken(MultiprocessNode):
        def initialize(self) -> None:
            raise OSError("no such model")

        def cleanup(self) -> None:
            cleaned.append(True)

    with pytest.raises(OSError, match="no such model"):
        async with NodeHarness(Broken):
            pass
    assert cleaned == [True]


async def test_a_class_that_overrides_its_constructor_works_with_and_without_ours() -> None:
    class Own(MultiprocessNode):
        def __init__(self, node_id: str, config: dict[str, Any] | None = None) -> None:
            self.extra_state = 1

        def process(self, data: RuntimeData) -> str:
            return f"{self.node_id} {self.config['x']} {self.extra_state}"

    async with NodeHarness(Own, {"x": 2}, node_id="own") as harness:
        assert (await harness.send("go"))[0].data.payload == "own 2 1"


def test_a_node_outside_of_a_session_can_not_send() -> None:
    node = MultiprocessNode("lonely")
    node.report_progress(0.5)
    assert not node.interrupted
    with pytest.raises(NodeError, match="can send only while it runs"):
        node.emit("output", "x")


def test_metrics_are_numbers_by_name() -> None:
    metrics = MultiprocessNode("n").metrics
    metrics.counter("frames").inc(2)
    metrics.gauge("depth").set(3)
    assert metrics.snapshot() == {"counters": {"frames": 2.0}, "gauges": {"depth": 3.0}}
    for wrong, reason in (
        (lambda: metrics.gauge("frames"), "already a counter"),
        (lambda: metrics.counter("Bad name"), "must be made of"),
        (lambda: metrics.counter("frames").inc(-1), "can't shrink"),
        (lambda: [metrics.counter(f"c{number}") for number in range(200)], "one too many"),
    ):
        with pytest.raises(NodeError, match=reason):
            wrong()
