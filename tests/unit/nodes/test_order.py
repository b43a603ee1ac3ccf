"""`reorder` and `join`: what belongs together meets, in the order of time, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline import DataError, NodeConfigError, RuntimeData
from ringline.nodes.generic.reorder import Reorder
from ringline.testing import NodeHarness, Output
from tests.unit.nodes.pictures import boxes, overlap, pattern

MS = 1_000_000


def merger(**config: Any) -> NodeHarness:
    return NodeHarness("reorder", {"wait_ms": 0, **config}, inputs=("a", "b"))


def joiner(**config: Any) -> NodeHarness:
    return NodeHarness("join", {"wait_ms": 0, **config}, inputs=("a", "b"))


def at(ms: int, word: str = "") -> RuntimeData:
    return RuntimeData.text(word or str(ms), timestamp=ms * MS)


def times(outputs: list[Output]) -> list[int]:
    return [output.data.timestamp // MS for output in outputs]


def counted(node: NodeHarness, name: str) -> float:
    return node.node.metrics.snapshot()["counters"].get(name, 0)


async def test_a_message_leaves_when_every_input_is_past_it() -> None:
    async with merger() as node:
        assert await node.send(at(20), "a") == []
        assert times(await node.send(at(10), "b")) == [10]
        assert times(await node.send(at(30), "b")) == [20]
        assert times(await node.end()) == [30]


@given(split=st.lists(st.booleans(), max_size=30), order=st.randoms())
def test_any_interleaving_of_two_ordered_streams_comes_out_in_order(split: list[bool], order: Any) -> None:
    streams = {"a": [i for i, left in enumerate(split) if left], "b": [i for i, left in enumerate(split) if not left]}
    node = Reorder("merge", {"wait_ms": 0, "max_held": 100})
    node.input_ports = ("a", "b")
    node.forget()
    left: list[int] = []
    while streams["a"] or streams["b"]:
        port = order.choice([port for port, stream in streams.items() if stream])
        node.take(at(streams[port].pop(0)).with_(port=port), 0.0)
        left += [data.timestamp // MS for _, data in node.due(0.0, ending=False)]
    left += [data.timestamp // MS for _, data in node.due(0.0, ending=True)]
    assert left == list(range(len(split)))


async def test_a_silent_input_is_awaited_only_so_long() -> None:
    async with merger(wait_ms=10) as node:
        await node.send(at(20), "a")
        await node.send(at(30), "a")
        assert [(await node.receive()).data.timestamp // MS for _ in range(2)] == [20, 30]
        assert await node.send(at(25), "b") == []
        assert counted(node, "late") == 1


async def test_late_messages_can_be_sent_all_the_same() -> None:
    async with merger(wait_ms=10, late="send") as node:
        await node.send(at(20), "a")
        await node.receive()
        assert times(await node.send(at(10), "b")) == [10]
        assert counted(node, "late") == 1


async def test_too_many_held_messages_push_the_earliest_out() -> None:
    async with merger(max_held=2) as node:
        assert times([output for ms in (1, 2, 3, 4) for output in await node.send(at(ms), "a")]) == [1, 2]


async def test_many_held_messages_are_copied_so_that_their_sender_gets_its_blocks_back() -> None:
    arrays = [np.full(4, number) for number in range(40)]
    async with merger() as node:
        for number, array in enumerate(arrays):
            await node.send(RuntimeData.tensor(array, timestamp=number), "a")
        left = [output.data for output in await node.end()]
    assert [data.as_numpy()[0] for data in left] == list(range(40))
    in_place = [np.shares_memory(data.as_numpy(), array) for data, array in zip(left, arrays, strict=True)]
    assert in_place == [True] * 8 + [False] * 32


async def test_equal_times_all_pass() -> None:
    async with merger() as node:
        await node.send(at(10, "left"), "a")
        outputs = [*await node.send(at(10, "right"), "b"), *await node.end()]
    assert sorted(output.data.as_text() for output in outputs) == ["left", "right"]


async def test_payloads_are_not_copied() -> None:
    array = np.zeros(4)
    async with merger() as node:
        await node.send(RuntimeData.tensor(array), "a")
        [output] = await node.end()
    assert np.shares_memory(output.data.as_numpy(), array)


async def test_a_flush_forgets_what_waits_and_what_has_left() -> None:
    async with merger() as node:
        await node.send(at(50), "a")
        await node.send(at(60), "b")
        await node.flush()
        await node.send(at(10), "a")
        assert times(await node.end()) == [10]


async def test_values_of_the_same_time_become_one_object() -> None:
    async with joiner() as node:
        assert await node.send(at(10, "hello"), "a") == []
        [output] = await node.send(RuntimeData.json({"mood": "good"}, timestamp=10 * MS), "b")
    assert output.data.as_json() == {"a": "hello", "b": {"mood": "good"}}
    assert output.data.timestamp == 10 * MS


async def test_the_primary_message_carries_the_others_without_a_copy() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    async with joiner(primary="a") as node:
        await node.send(RuntimeData.video(picture, timestamp=5, fps=30, extra={"frame": 1}), "a")
        [output] = await node.send(RuntimeData.json({"boxes": []}, timestamp=5), "b")
    assert np.shares_memory(output.data.as_numpy(), picture)
    assert output.data.metadata.fps == 30
    assert output.data.metadata.extra == {"frame": 1, "b": {"boxes": []}}


async def test_a_primary_message_without_metadata_gets_some() -> None:
    async with joiner(primary="a") as node:
        await node.send(RuntimeData.binary(b"x"), "a")
        [output] = await node.send(at(0, "note"), "b")
    assert output.data.metadata.extra == {"b": "note"}


@pytest.mark.parametrize(("missing", "kept"), [("drop", []), ("send", [{"a": "10"}])])
async def test_a_partner_that_was_lost_is_not_awaited(missing: str, kept: list[Any]) -> None:
    async with joiner(missing=missing) as node:
        await node.send(at(10), "a")
        outputs = await node.send(at(20), "b")
        assert [output.data.as_json() for output in outputs] == kept
        assert counted(node, "incomplete") == 1
        [output] = await node.send(at(20), "a")
        assert output.data.as_json() == {"a": "20", "b": "20"}


async def test_an_incomplete_group_leaves_after_its_time() -> None:
    async with joiner(wait_ms=10, missing="send") as node:
        await node.send(at(10), "a")
        assert (await node.receive()).data.as_json() == {"a": "10"}


async def test_an_incomplete_group_without_the_primary_sends_nothing() -> None:
    async with joiner(primary="a", missing="send") as node:
        await node.send(at(10), "b")
        assert await node.end() == []


async def test_times_within_the_tolerance_belong_together() -> None:
    async with joiner(tolerance_ms=5) as node:
        await node.send(at(10), "a")
        [output] = await node.send(at(14), "b")
        assert output.data.as_json() == {"a": "10", "b": "14"}
        assert output.data.timestamp == 10 * MS
        await node.send(at(30), "a")
        assert await node.send(at(36), "b") == []


async def test_too_many_held_groups_push_the_oldest_out() -> None:
    async with joiner(max_held=1, missing="send") as node:
        outputs = [output for ms in (1, 2, 3) for output in await node.send(at(ms), "a")]
    assert [output.data.as_json() for output in outputs] == [{"a": "1"}, {"a": "2"}]


async def test_a_join_drops_what_waits_at_a_flush_and_its_rest_at_the_end() -> None:
    async with joiner(wait_ms=5) as node:
        await node.send(at(10), "a")
        await node.flush()
        await asyncio.sleep(0.02)
        await node.send(at(20), "b")
        assert await node.end() == []
        assert counted(node, "incomplete") == 1


async def test_what_can_not_be_joined_is_refused() -> None:
    async with joiner() as node:
        with pytest.raises(DataError, match="only text and JSON together, but tensor came at 'a'"):
            await node.send(RuntimeData.tensor([1]), "a")
    with pytest.raises(NodeConfigError, match=r"no input 'video' for primary \(it has: a, b\)"):
        async with joiner(primary="video"):
            pass


async def test_two_detectors_share_the_pictures_and_their_boxes_meet_in_order() -> None:
    """The video example in small: source → round_robin → two detectors → reorder → draw."""
    pictures = await pattern(12, pattern="face", width=320, height=240)
    outputs: list[Output] = []
    async with (
        NodeHarness("round_robin", outputs=("a", "b")) as share,
        NodeHarness("face_detector") as first,
        NodeHarness("face_detector") as second,
        merger() as merge,
        NodeHarness("draw", {"wait_ms": 0}) as draw,
    ):
        found: dict[str, list[Output]] = {"a": [], "b": []}
        for picture in pictures:
            outputs += await draw.send(picture, "video")
            for port, data in await share.send(picture):
                found[port] += await (first if port == "a" else second).send(data)
        # The second detector is far ahead of the first: the worst order there is.
        merged = [output for port, _, data in _late(found) for output in await merge.send(data, port)]
        for _, data in [*merged, *await merge.end()]:
            outputs += await draw.send(data, "detections")
        outputs += await draw.end()
    assert times(outputs) == [picture.timestamp // MS for picture in pictures]
    assert [output.data.metadata.extra["boxes"] for output in outputs] == [1] * 12
    for port, picture in zip(itertools.cycle("ab"), pictures, strict=False):
        data = found[port].pop(0).data
        assert overlap(boxes(data)[0], picture.metadata.extra["box"]) > 0.4


def _late(found: dict[str, list[Output]]) -> list[tuple[str, str, RuntimeData]]:
    return [(port, *output) for port in ("b", "a") for output in found[port]]


async def test_an_input_that_has_ended_holds_no_message_back() -> None:
    async with merger() as node:
        assert await node.send(at(10), "a") == []
        assert await node.send(at(30), "a") == []
        assert times(await node.send(at(20), "b")) == [10, 20]
        assert times(await node.end_input("b")) == [30]
        assert times(await node.send(at(40), "a")) == [40]
        assert await node.end() == []


async def test_the_end_of_an_input_lets_go_what_waited_for_it() -> None:
    async with merger() as node:
        assert await node.send(at(10), "a") == []
        assert times(await node.end_input("b")) == [10]
        await node.flush()
        assert times(await node.send(at(20), "a")) == [20]


@pytest.mark.parametrize("missing", ["send", "drop"])
async def test_a_group_does_not_wait_for_an_input_that_has_ended(missing: str) -> None:
    async with joiner(missing=missing, primary="a") as node:
        assert await node.send(at(10), "a") == []
        assert await node.send(at(20), "a") == []
        assert times(await node.send(at(10), "b")) == [10]
        kept = [20, 30] if missing == "send" else []
        assert times(await node.end_input("b") + await node.send(at(30), "a")) == kept
        assert counted(node, "incomplete") == 2


async def test_what_an_ended_input_left_is_still_joined() -> None:
    async with joiner() as node:
        for ms in (10, 20):
            assert await node.send(at(ms), "b") == []
        assert await node.end_input("b") == []
        assert times(await node.send(at(20), "a")) == [20]
        assert counted(node, "incomplete") == 1
