"""Nodes for any type: pass_through, tee, round_robin, throttle, batch."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from ringline import DataError, NodeConfigError, RuntimeData
from ringline.testing import NodeHarness, Output

MS = 1_000_000

EVERY_TYPE = [
    RuntimeData.audio([0.5], 8000, timestamp=1),
    RuntimeData.video(np.zeros((2, 2, 3), np.uint8), timestamp=2),
    RuntimeData.text("hello", timestamp=3),
    RuntimeData.tensor([1, 2], timestamp=4),
    RuntimeData.json({"a": 1}, timestamp=5),
    RuntimeData.binary(b"abc", timestamp=6),
    RuntimeData.file("/tmp/a", timestamp=7),
    RuntimeData.control("mark", timestamp=8),
]


def text(word: str, ms: int = 0) -> RuntimeData:
    return RuntimeData.text(word, timestamp=ms * MS)


def number(value: float, ms: int = 0) -> RuntimeData:
    return RuntimeData.tensor(np.array([value, value], np.float32), timestamp=ms * MS)


def values(outputs: list[Output]) -> list[Any]:
    return [output.data.as_json() for output in outputs]


@pytest.mark.parametrize("message", EVERY_TYPE, ids=lambda message: message.type.value)
async def test_pass_through_and_tee_change_nothing(message: RuntimeData) -> None:
    async with NodeHarness("pass_through") as hop, NodeHarness("tee", outputs=("left", "right")) as tee:
        outputs = [*await hop.send(message), *await tee.send(message)]
    assert [output.port for output in outputs] == ["output", "left", "right"]
    for _, data in outputs:
        assert (data.type, data.timestamp, data.metadata) == (message.type, message.timestamp, message.metadata)
        if isinstance(message.payload, np.ndarray):
            assert np.shares_memory(data.as_numpy(), message.as_numpy())
        else:
            assert data.payload == message.payload


async def test_a_tee_without_branches_swallows() -> None:
    async with NodeHarness("tee", outputs=()) as node:
        assert await node.send(text("hello")) == []


async def test_round_robin_gives_each_output_its_turn() -> None:
    async with NodeHarness("round_robin", outputs=("a", "b", "c")) as node:
        outputs = [output for word in "uvwxyz" for output in await node.send(text(word))]
    assert [(output.port, output.data.as_text()) for output in outputs] == [
        (port, word) for port, word in zip("abcabc", "uvwxyz", strict=True)
    ]


async def test_round_robin_without_outputs_is_refused() -> None:
    with pytest.raises(NodeConfigError, match="has no outputs: connect at least one"):
        async with NodeHarness("round_robin", outputs=(), node_id="share"):
            pass


@pytest.mark.parametrize("kind", ["pass_through", "tee", "round_robin"])
def test_nodes_without_options_take_none(kind: str) -> None:
    with pytest.raises(NodeConfigError, match="speed"):
        NodeHarness(kind, {"speed": 3})


@pytest.mark.parametrize(("rate", "limit", "kept"), [(30, 10, 10), (30, 30, 30), (30, 60, 30), (100, 7, 7), (25, 1, 1)])
async def test_throttle_passes_exactly_so_many_a_second(rate: int, limit: float, kept: int) -> None:
    async with NodeHarness("throttle", {"max_per_s": limit}) as node:
        times = [round(step * 1000 * MS / rate) for step in range(rate)]
        passed = [output for time in times for output in await node.send(RuntimeData.text("", timestamp=time))]
        dropped = node.node.metrics.snapshot()["counters"].get("dropped", 0)
    assert len(passed) == kept
    assert dropped == rate - kept


async def test_throttle_begins_anew_when_time_goes_back_and_after_a_flush() -> None:
    async with NodeHarness("throttle", {"max_per_s": 1}) as node:
        assert len(await node.send(text("", 5000))) == 1
        assert len(await node.send(text("", 5010))) == 0
        assert len(await node.send(text("", 0))) == 1
        assert len(await node.send(text("", 10))) == 0
        await node.flush()
        assert len(await node.send(text("", 20))) == 1


async def test_throttle_after_a_pause_does_not_catch_up() -> None:
    async with NodeHarness("throttle", {"max_per_s": 10}) as node:
        passed = [ms for ms in (0, 1000, 1010, 1020, 1100) if await node.send(text("", ms))]
    assert passed == [0, 1000, 1100]


async def test_throttle_by_arrival_looks_at_the_clock() -> None:
    async with NodeHarness("throttle", {"max_per_s": 0.001, "clock": "arrival"}) as node:
        assert [len(await node.send(text("", ms))) for ms in (0, 10_000, 20_000)] == [1, 0, 0]
    with pytest.raises(NodeConfigError, match="max_per_s"):
        NodeHarness("throttle", {})


async def test_a_full_batch_of_arrays_leaves_as_one_tensor() -> None:
    async with NodeHarness("batch", {"max_items": 3, "max_wait_ms": 0}) as node:
        assert await node.send(number(1, 10)) == []
        assert await node.send(number(2, 20)) == []
        [output] = await node.send(number(3, 30))
    assert output.data.as_numpy().tolist() == [[1, 1], [2, 2], [3, 3]]
    assert output.data.timestamp == 10 * MS
    assert output.data.metadata.names == ("batch", "axis0")
    assert output.data.metadata.extra == {"count": 3, "timestamps": [10 * MS, 20 * MS, 30 * MS]}


async def test_texts_and_json_become_one_list() -> None:
    async with NodeHarness("batch", {"max_items": 3, "max_wait_ms": 0}) as node:
        await node.send(text("a", 5))
        await node.send(RuntimeData.json({"b": 1}))
        outputs = await node.send(text("c"))
        assert node.node.metrics.snapshot()["gauges"]["batch_size"] == 3
    assert values(outputs) == [["a", {"b": 1}, "c"]]
    assert outputs[0].data.timestamp == 5 * MS


async def test_a_batch_leaves_after_its_time_and_the_next_one_too() -> None:
    async with NodeHarness("batch", {"max_items": 100, "max_wait_ms": 10}) as node:
        for word in ("a", "b"):
            await node.send(text(word))
            assert (await node.receive()).data.as_json() == [word]


async def test_the_end_sends_the_rest() -> None:
    async with NodeHarness("batch", {"max_items": 10, "max_wait_ms": 0}) as node:
        await node.send(text("a"))
        assert values(await node.end()) == [["a"]]
        assert await node.end() == []


async def test_another_shape_dtype_or_type_begins_a_new_batch() -> None:
    odd = [number(1), RuntimeData.tensor(np.zeros(3, np.float32)), RuntimeData.tensor(np.zeros(3)), text("a")]
    async with NodeHarness("batch", {"max_items": 10, "max_wait_ms": 0}) as node:
        outputs = [output for message in odd for output in await node.send(message)]
        outputs += await node.end()
    assert [output.data.type.value for output in outputs] == ["tensor", "tensor", "tensor", "json"]
    assert [output.data.as_numpy().shape for output in outputs[:3]] == [(1, 2), (1, 3), (1, 3)]


async def test_a_batch_of_pictures_keeps_its_own_copy() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    async with NodeHarness("batch", {"max_items": 2, "max_wait_ms": 0}) as node:
        await node.send(RuntimeData.video(picture))
        picture[:] = 9
        [output] = await node.send(RuntimeData.video(picture))
    assert output.data.as_numpy().max(axis=(1, 2, 3)).tolist() == [0, 9]


async def test_a_flush_empties_the_batch() -> None:
    async with NodeHarness("batch", {"max_items": 10, "max_wait_ms": 5}) as node:
        await node.send(text("a"))
        await node.flush()
        await asyncio.sleep(0.02)
        assert await node.end() == []


@pytest.mark.parametrize("message", [RuntimeData.binary(b"x"), RuntimeData.file("/tmp/a"), RuntimeData.control("x")])
async def test_what_can_not_be_gathered_is_refused(message: RuntimeData) -> None:
    async with NodeHarness("batch") as node:
        with pytest.raises(DataError, match="can't gather messages of type"):
            await node.send(message)
    with pytest.raises(NodeConfigError, match="max_items"):
        NodeHarness("batch", {"max_items": 0})
