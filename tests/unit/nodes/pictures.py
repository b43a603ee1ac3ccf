"""Pictures that the tests of video nodes make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ringline import RuntimeData
from ringline.nodes.video.pictures import Picture
from ringline.testing import NodeHarness

MS = 1_000_000
Place = tuple[int, int, int, int]


def plain(width: int = 64, height: int = 48, value: int = 40) -> Picture:
    """A picture of one grey."""
    return np.full((height, width, 3), value, np.uint8)


def with_square(x: int, y: int, size: int = 16, *, width: int = 160, height: int = 120) -> Picture:
    """A bright square on dark ground."""
    picture = plain(width, height)
    picture[y : y + size, x : x + size] = 220
    return picture


def shot(picture: Picture, ms: int = 0, **fields: Any) -> RuntimeData:
    """A video message."""
    return RuntimeData.video(picture, timestamp=ms * MS, **fields)


async def pattern(count: int, **config: Any) -> list[RuntimeData]:
    """Pictures of the pattern source."""
    async with NodeHarness("video_pattern_source", {"pace": "fast", "count": count, **config}) as node:
        return [output.data for output in await node.collect()]


def boxes(data: RuntimeData) -> list[dict[str, Any]]:
    """The boxes in a detections message."""
    found: list[dict[str, Any]] = data.as_json()["boxes"]
    return found


def overlap(box: dict[str, Any], place: Sequence[int]) -> float:
    """Common area of two rectangles, as a part of their union."""
    x, y, w, h = place
    wide = max(0, min(box["x"] + box["w"], x + w) - max(box["x"], x))
    high = max(0, min(box["y"] + box["h"], y + h) - max(box["y"], y))
    return float(wide * high / (box["w"] * box["h"] + w * h - wide * high))
