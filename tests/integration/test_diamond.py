"""Fan-out and join with room for one message everywhere: it never stands still where the branches answer each message.

The messages fill half of their writer's heap, so that a join that kept more of them than it must would stop the writer.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from ringline import ManifestError, Pipeline, RuntimeData, Session
from tests.integration.sessions import running

COUNT = 60
BYTES = 1 << 20
STEP_NS = 10_000_000


def diamond(
    kind: str, config: dict[str, Any], right: str = "pass_through", ports: tuple[str, str] = ("x", "y")
) -> Pipeline:
    """Build split → left (two nodes) and right → both, capacity 1 everywhere."""
    made = Pipeline("diamond").add_node("tee", "split").add_node("pass_through", "left").add_node("pass_through", "far")
    made.add_node(right, "right").add_node(kind, "both", config)
    for from_, from_port, to, to_port in (
        ("split", "a", "left", "input"),
        ("split", "b", "right", "input"),
        ("left", "output", "far", "input"),
        ("far", "output", "both", ports[0]),
        ("right", "output", "both", ports[1]),
    ):
        made.connect(from_, from_port, to, to_port, capacity=1)
    made.input("in", to="split.input", capacity=1)
    out = "audio" if kind == "mix" else "output"
    return made.output("out", from_=f"both.{out}", capacity=1, overflow="block")


async def feed(session: Session, *, sound: bool = False) -> None:
    for number in range(COUNT):
        if sound:
            block = np.full(BYTES // 4, number / COUNT / 2, np.float32)
            await session.send("in", RuntimeData.audio(block, 100 * len(block), timestamp=number * STEP_NS))
        else:
            array = np.full(BYTES, number, np.uint8)
            await session.send("in", RuntimeData.tensor(array, timestamp=number * STEP_NS))
    await session.end()


async def through(pipeline: Pipeline, *, sound: bool = False) -> list[RuntimeData]:
    """Send everything through, and give copies of what came out."""
    async with running(pipeline, max_message_size=BYTES) as session:
        feeding = asyncio.create_task(feed(session, sound=sound))
        got = []
        async for data in session.stream("out"):
            got.append(data.with_(payload=data.as_numpy()[:1].copy()))
            data.release()
        await feeding
        assert all(
            stats.dropped == dict.fromkeys(stats.dropped, 0) for stats in (await session.get_channel_stats()).values()
        )
    return got


async def test_a_join_gets_every_pair() -> None:
    got = await through(diamond("join", {"wait_ms": 0, "primary": "x", "missing": "drop"}, right="t_weigh"))
    assert [int(data.as_numpy()[0]) for data in got] == list(range(COUNT))
    assert [data.metadata.extra["y"] for data in got] == [{"bytes": BYTES}] * COUNT


async def test_a_reorder_gets_every_message_of_both_branches() -> None:
    got = await through(diamond("reorder", {"wait_ms": 0}))
    assert [int(data.as_numpy()[0]) for data in got] == sorted([*range(COUNT), *range(COUNT)])


async def test_a_mix_adds_every_block_of_both_branches() -> None:
    got = await through(diamond("mix", {"wait_ms": 0}), sound=True)
    assert [
        float(data.as_numpy()[0, 0] if data.as_numpy().ndim == 2 else data.as_numpy()[0]) for data in got
    ] == pytest.approx([number / COUNT for number in range(COUNT)])


async def test_a_branch_that_answers_some_messages_only_is_refused_without_a_limit() -> None:
    config = {"wait_ms": 0, "primary": "x", "missing": "send"}
    with pytest.raises(ManifestError, match=r"node 'right' \(t_weigh_some\) need not send one message for each"):
        async with running(diamond("join", config, right="t_weigh_some")):
            raise AssertionError("it started")


async def test_with_a_limit_such_a_branch_stops_nothing() -> None:
    config = {"wait_ms": 20, "primary": "x", "missing": "send"}
    got = await through(diamond("join", config, right="t_weigh_some"))
    assert [int(data.as_numpy()[0]) for data in got] == list(range(COUNT))
