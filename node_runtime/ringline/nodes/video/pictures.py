"""Video messages as OpenCV pictures. Used by the video nodes."""

from __future__ import annotations

from typing import Any, Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from ringline import DataError, DataType, MultiprocessNode, RuntimeData, VideoMetadata
from ringline.nodes.support import expect, optional_library

Picture = NDArray[np.uint8]
"""Shape (height, width, 3), blue-green-red, or (height, width) for grey."""

Rectangle = tuple[int, int, int, int]
"""x, y, width and height in pixels."""

_TO_BGR: Final = {
    "bgr24": ("", 3),
    "rgb24": ("COLOR_RGB2BGR", 3),
    "rgba": ("COLOR_RGBA2BGR", 4),
    "bgra": ("COLOR_BGRA2BGR", 4),
    "gray": ("COLOR_GRAY2BGR", 0),
    "yuv420p": ("COLOR_YUV2BGR_I420", 0),
}
"""Pixel format → OpenCV's name of the conversion, and the length of a third axis (0: there is none)."""


class Box(TypedDict):
    """A rectangle in a picture, in pixels from its upper left corner."""

    x: int
    y: int
    w: int
    h: int
    label: str
    score: float


def opencv() -> Any:
    """Import OpenCV and keep it to one thread: the graph's processes are what runs in parallel. NodeLoadError if it is missing."""
    cv2 = optional_library("cv2", "video")
    cv2.setNumThreads(1)
    return cv2


def bgr_of(node: MultiprocessNode, data: RuntimeData, cv2: Any) -> Picture:
    """Give the message's picture in blue-green-red; not copied if it is that already. DataError for other types and formats."""
    expect(node, data, DataType.VIDEO)
    picture, form = data.as_numpy(), _format(data)
    if picture.dtype != np.uint8 or picture.ndim < 2 or not picture.size:
        raise DataError(
            f"node '{node.node_id}' takes pictures of 8-bit numbers, not {picture.dtype} of shape {picture.shape}"
        )
    if form not in _TO_BGR:
        raise DataError(
            f"node '{node.node_id}' can't read pictures in the format '{form}' (it reads: {', '.join(_TO_BGR)})"
        )
    code, depth = _TO_BGR[form]
    if picture.shape[2:] != ((depth,) if depth else ()) or (
        form == "yuv420p" and (picture.shape[0] % 3 or picture.shape[1] % 2)
    ):
        raise DataError(f"node '{node.node_id}': a picture of shape {picture.shape} is not '{form}'")
    if not code:
        return picture
    made: Picture = cv2.cvtColor(picture, getattr(cv2, code))
    return made


def _format(data: RuntimeData) -> str:
    if isinstance(data.metadata, VideoMetadata):
        return data.metadata.format
    return "gray" if data.as_numpy().ndim == 2 else "bgr24"


def shrunk(picture: Picture, max_width: int, cv2: Any) -> tuple[Picture, float]:
    """Give the picture at most `max_width` wide, and by how much its coordinates grow back (1.0 if it was small enough)."""
    height, width = picture.shape[:2]
    if not max_width or width <= max_width:
        return picture, 1.0
    size = (max_width, max(1, round(height * max_width / width)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA), width / max_width


def detections(data: RuntimeData, picture: Picture, boxes: list[Box]) -> RuntimeData:
    """Give the message that detectors send: JSON with the picture's size and the boxes, at the picture's time."""
    value = {"width": picture.shape[1], "height": picture.shape[0], "boxes": boxes}
    return RuntimeData.json(value, timestamp=data.timestamp).with_(session_id=data.session_id, origin=data.origin)


def scaled_box(rectangle: Rectangle, factor: float, label: str, score: float) -> Box:
    """Give a box in the coordinates of the full picture."""
    x, y, w, h = (round(int(value) * factor) for value in rectangle)
    return {"x": x, "y": y, "w": w, "h": h, "label": label, "score": round(score, 4)}
