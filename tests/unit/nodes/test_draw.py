"""`draw`: each picture gets its own boxes, in order, and none waits for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from ringline import DataError, NodeConfigError, RuntimeData
from ringline.testing import NodeHarness, Output
from tests.unit.nodes.pictures import MS, plain, shot

BOX = {"x": 10, "y": 20, "w": 20, "h": 10, "label": "face", "score": 0.5}


def painter(**config: Any) -> NodeHarness:
    return NodeHarness("draw", {"wait_ms": 0, **config})


def found(ms: int, *boxes: dict[str, Any]) -> RuntimeData:
    return RuntimeData.json({"boxes": list(boxes)}, timestamp=ms * MS)


async def picture(node: NodeHarness, ms: int) -> list[Output]:
    return await node.send(shot(plain(), ms, fps=25.0, extra={"frame": ms}), "video")


def times(outputs: list[Output]) -> list[int]:
    return [output.data.timestamp // MS for output in outputs]


@pytest.mark.parametrize("detections_first", [True, False])
async def test_boxes_are_drawn_on_the_picture_of_their_time(detections_first: bool) -> None:
    async with painter() as node:
        if detections_first:
            await node.send(found(40, BOX), "detections")
            outputs = await picture(node, 40)
        else:
            assert await picture(node, 40) == []
            outputs = await node.send(found(40, BOX), "detections")
    [output] = outputs
    drawn = output.data.as_numpy()
    assert drawn[20, 15].tolist() == drawn[30, 15].tolist() == [0, 220, 0]
    assert drawn[40, 40].tolist() == [40, 40, 40]
    assert (output.data.metadata.fps, output.data.metadata.extra) == (25.0, {"frame": 40, "boxes": 1})
    assert times(outputs) == [40]


async def test_a_picture_without_boxes_is_not_copied() -> None:
    original = plain()
    async with painter() as node:
        await node.send(found(0), "detections")
        [output] = await node.send(shot(original), "video")
    assert np.shares_memory(output.data.as_numpy(), original)


async def test_the_original_is_never_drawn_upon() -> None:
    original = plain()
    async with painter() as node:
        await node.send(found(0, BOX), "detections")
        await node.send(shot(original), "video")
    assert (original == 40).all()


async def test_a_picture_whose_detections_were_dropped_gets_the_last_ones() -> None:
    async with painter() as node:
        await node.send(found(0, BOX), "detections")
        outputs = [*await picture(node, 0), *await picture(node, 40)]
        outputs += await node.send(found(80), "detections")
        outputs += await picture(node, 80)
    assert times(outputs) == [0, 40, 80]
    assert [output.data.metadata.extra.get("boxes") for output in outputs] == [1, 1, None]


async def test_boxes_that_are_too_old_are_not_drawn() -> None:
    async with painter(hold_ms=50) as node:
        await node.send(found(0, BOX), "detections")
        await picture(node, 0)
        await picture(node, 100)
        outputs = await node.send(found(200), "detections")
    assert "boxes" not in outputs[0].data.metadata.extra


async def test_a_picture_waits_only_so_long() -> None:
    async with painter(wait_ms=20) as node:
        await picture(node, 0)
        assert (await node.receive()).data.timestamp == 0


async def test_too_many_waiting_pictures_push_the_oldest_out() -> None:
    async with painter(max_held=3) as node:
        outputs = [output for number in range(5) for output in await picture(node, number)]
        assert times(outputs) == [0, 1]
        assert times(await node.end()) == [2, 3, 4]


async def test_a_flush_drops_what_waits() -> None:
    async with painter(wait_ms=10) as node:
        await picture(node, 0)
        await node.flush()
        await asyncio.sleep(0.03)
        assert await node.end() == []


async def test_colour_width_and_labels_can_be_chosen() -> None:
    async with painter(color=[1, 2, 3], thickness=1, labels=False) as node:
        await node.send(found(0, BOX), "detections")
        [output] = await picture(node, 0)
    drawn = output.data.as_numpy()
    assert drawn[20, 15].tolist() == [1, 2, 3]
    assert (drawn[:19] == 40).all()


async def test_boxes_beyond_the_picture_do_no_harm() -> None:
    async with painter() as node:
        await node.send(found(0, {"x": -500, "y": -500, "w": 5000, "h": 5000}), "detections")
        [output] = await picture(node, 0)
    assert output.data.metadata.extra["boxes"] == 1


@pytest.mark.parametrize(
    ("port", "message", "words"),
    [
        ("detections", RuntimeData.json([1]), "takes detections like"),
        ("detections", RuntimeData.json({"boxes": [{"x": 1}]}), "takes detections like"),
        ("detections", RuntimeData.text("face"), "takes detections like"),
        ("video", RuntimeData.text("picture"), "takes video"),
    ],
)
async def test_what_can_not_be_drawn_is_refused(port: str, message: RuntimeData, words: str) -> None:
    async with painter() as node:
        with pytest.raises(DataError, match=words):
            await node.send(message, port)


@pytest.mark.parametrize("color", [[1, 2], [0, 0, 300], "green"])
def test_bad_colours_are_refused(color: Any) -> None:
    with pytest.raises(NodeConfigError, match="color"):
        painter(color=color)


async def test_pictures_do_not_wait_for_detections_that_have_ended() -> None:
    async with painter(hold_ms=1000) as node:
        await node.send(found(40, BOX), "detections")
        assert await picture(node, 80) == []
        [held] = await node.end_input("detections")
        [following] = await picture(node, 120)
    assert [each.data.metadata.extra["boxes"] for each in (held, following)] == [1, 1]
