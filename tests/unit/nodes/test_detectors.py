"""`motion_detector` and `face_detector` on pictures whose truth is known."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from ringline import DataError, NodeConfigError, RuntimeData, VideoMetadata
from ringline.testing import NodeHarness
from tests.unit.nodes.pictures import boxes, overlap, pattern, plain, shot, with_square

BOTH = pytest.mark.parametrize("kind", ["motion_detector", "face_detector"])


async def detected(kind: str, messages: list[RuntimeData], **config: Any) -> list[RuntimeData]:
    async with NodeHarness(kind, config) as node:
        return [output.data for message in messages for output in await node.send(message)]


async def test_a_square_that_appears_is_found_where_it_is() -> None:
    first, second = await detected("motion_detector", [shot(plain(160, 120)), shot(with_square(40, 50), 40)])
    assert boxes(first) == []
    [box] = boxes(second)
    assert overlap(box, (40, 50, 16, 16)) > 0.5
    assert box["label"] == "motion"
    assert 0 < box["score"] <= 1
    assert second.timestamp == 40_000_000
    assert (second.as_json()["width"], second.as_json()["height"]) == (160, 120)


async def test_what_moves_is_followed() -> None:
    moving = await pattern(30, width=320, height=240, speed=240)
    _, *found = await detected("motion_detector", [shot(plain(320, 240)), *moving], learning_rate=0.02)
    for data, truth in zip(found, moving, strict=True):
        assert overlap(boxes(data)[0], truth.metadata.extra["box"]) > 0.5


async def test_boxes_of_a_large_picture_are_in_its_own_pixels() -> None:
    small = await detected(
        "motion_detector",
        [shot(plain(1280, 960)), shot(with_square(640, 480, 160, width=1280, height=960))],
        max_width=160,
    )
    assert overlap(boxes(small[1])[0], (640, 480, 160, 160)) > 0.5


async def test_two_things_are_two_boxes_the_largest_first() -> None:
    both = with_square(10, 10, 16)
    both[60:100, 90:130] = 220
    found = await detected("motion_detector", [shot(plain(160, 120)), shot(both)])
    assert [box["w"] > 30 for box in boxes(found[1])] == [True, False]


async def test_what_stays_becomes_background() -> None:
    still = [shot(plain(160, 120)), *[shot(with_square(40, 50))] * 80]
    found = await detected("motion_detector", still, learning_rate=0.2)
    assert boxes(found[1]) != []
    assert boxes(found[-1]) == []


async def test_a_small_change_is_ignored() -> None:
    found = await detected("motion_detector", [shot(plain(160, 120)), shot(with_square(40, 50, 3))], min_area=0.05)
    assert boxes(found[1]) == []


async def test_another_size_and_a_flush_begin_a_new_background() -> None:
    async with NodeHarness("motion_detector") as node:
        await node.send(shot(plain(160, 120)))
        [other] = await node.send(shot(with_square(10, 10, width=64, height=48)))
        assert boxes(other.data) == []
        await node.flush()
        [again] = await node.send(shot(with_square(30, 10, width=64, height=48)))
        assert boxes(again.data) == []


async def test_a_face_is_found_where_it_is() -> None:
    faces = await pattern(5, pattern="face", width=640, height=480)
    for data, truth in zip(await detected("face_detector", faces), faces, strict=True):
        assert data.timestamp == truth.timestamp
        [box] = boxes(data)
        assert overlap(box, truth.metadata.extra["box"]) > 0.4
        assert box["label"] == "face"
        assert 0 < box["score"] <= 1


async def test_where_no_face_is_none_is_found() -> None:
    assert boxes((await detected("face_detector", await pattern(1, pattern="ball")))[0]) == []


async def test_two_faces_are_found_in_one_picture() -> None:
    [one] = await pattern(1, pattern="face", width=320, height=240, size=200)
    picture = np.concatenate([one.as_numpy(), one.as_numpy()], axis=1)
    [data] = await detected("face_detector", [shot(picture)], max_width=0, label="person")
    assert [box["label"] for box in boxes(data)] == ["person", "person"]


@pytest.mark.parametrize("form", ["rgb24", "gray", "bgra", "rgba", "yuv420p"])
async def test_faces_are_found_in_every_pixel_format(form: str) -> None:
    [face] = await pattern(1, pattern="face", width=320, height=240)
    codes = {"rgb24": "RGB", "gray": "GRAY", "bgra": "BGRA", "rgba": "RGBA", "yuv420p": "YUV_I420"}
    converted = cv2.cvtColor(face.as_numpy(), getattr(cv2, f"COLOR_BGR2{codes[form]}"))
    message = RuntimeData("video", converted, metadata=VideoMetadata(320, 240, form))
    [data] = await detected("face_detector", [message])
    assert len(boxes(data)) == 1
    assert (data.as_json()["width"], data.as_json()["height"]) == (320, 240)


async def test_another_cascade_can_be_named() -> None:
    [face] = await pattern(1, pattern="face", width=320, height=240)
    [data] = await detected("face_detector", [face], cascade="frontalface_alt2")
    assert len(boxes(data)) == 1
    with pytest.raises(NodeConfigError, match=r"no cascade 'cat'; OpenCV ships: .*frontalface_default"):
        await detected("face_detector", [], cascade="cat")
    with pytest.raises(NodeConfigError, match="no cascade"):
        await detected("face_detector", [], cascade="/nowhere/a.xml")


@BOTH
@pytest.mark.parametrize(
    ("message", "words"),
    [
        (RuntimeData.text("a picture"), "takes video, but a message of type text came"),
        (RuntimeData.video(np.zeros((4, 4, 3), np.float32)), "8-bit numbers, not float32"),
        (RuntimeData.video(np.zeros((0, 0, 3), np.uint8)), r"of shape \(0, 0, 3\)"),
        (
            RuntimeData("video", np.zeros((4, 4, 2), np.uint8), metadata=VideoMetadata(4, 4, "ya8")),
            "can't read pictures in the format 'ya8'",
        ),
        (RuntimeData("video", np.zeros((4, 4), np.uint8), metadata=VideoMetadata(4, 4, "rgb24")), "is not 'rgb24'"),
        (RuntimeData("video", np.zeros((4, 4), np.uint8), metadata=VideoMetadata(4, 4, "yuv420p")), "is not 'yuv420p'"),
        (RuntimeData("video", np.zeros(4, np.uint8)), r"of shape \(4,\)"),
    ],
)
async def test_what_is_no_picture_is_refused(kind: str, message: RuntimeData, words: str) -> None:
    with pytest.raises(DataError, match=words):
        await detected(kind, [message])


@BOTH
def test_bad_options_are_refused(kind: str) -> None:
    with pytest.raises(NodeConfigError, match="max_width"):
        NodeHarness(kind, {"max_width": -1})
