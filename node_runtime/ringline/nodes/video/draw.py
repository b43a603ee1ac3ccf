"""Boxes on pictures."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from ringline import DataError, DataType, RuntimeData, VideoMetadata, register_node
from ringline.nodes.support import BoxConfig, Ports, expect, extra_of
from ringline.nodes.video.pictures import bgr_of, opencv
from ringline.nodes.waiting import Leaving, WaitingNode, kept

_Colour = Annotated[int, Field(ge=0, le=255)]


class DrawConfig(BoxConfig):
    wait_ms: int = Field(
        100, ge=0, le=60_000, description="How long a picture waits for its detections, in ms. 0: for ever."
    )
    hold_ms: int = Field(
        200,
        ge=0,
        le=60_000,
        description="A picture without its own detections gets the last ones, if they are not older than this.",
    )
    color: tuple[_Colour, _Colour, _Colour] = Field(
        (0, 220, 0), description="Blue, green and red of the lines, 0 to 255."
    )
    thickness: int = Field(2, ge=1, le=50, description="Width of the lines in pixels.")
    labels: bool = Field(default=True, description="Write each box's label and score above it.")
    max_held: int = Field(16, ge=1, le=256, description="Pictures held at most; the oldest leaves when there are more.")


@register_node("draw")
class Draw(WaitingNode):
    """Draws detections on the pictures that they belong to.

    Input `video`; input `detections`: JSON as detectors send it, in the order of time. Output `video`: bgr24, in order, with
    the same timestamps; `extra` has `boxes` (how many were drawn). A picture waits until its detections are there (the same
    timestamp), until those of a later one are (then its own were dropped) or they have ended, or `wait_ms`; it gets the last
    known boxes then. Pictures without boxes pass without a copy.

    Needs the extra `video`. Example::

        - {name: draw, type: draw, config: {wait_ms: 100}}      # channels: camera.video → draw.video, merge.output → draw.detections
    """

    inputs: ClassVar[Ports] = {"video": DataType.VIDEO, "detections": DataType.JSON}
    outputs: ClassVar[Ports] = {"video": DataType.VIDEO}
    Config = DrawConfig
    wait_limit = "wait_ms"
    extra = "video"
    options: DrawConfig

    def initialize(self) -> None:
        self._cv2 = opencv()
        super().initialize()

    def forget(self) -> None:
        self._frames: deque[tuple[RuntimeData, float]] = deque()
        self._found: deque[tuple[int, list[Any]]] = deque(maxlen=256)

    def take(self, data: RuntimeData, now: float) -> None:
        if data.port == "detections":
            self._found.append((data.timestamp, self._boxes(data)))
            return
        expect(self, data, DataType.VIDEO)
        self._frames.append((kept(data, len(self._frames)), now))

    def due(self, now: float, *, ending: bool) -> Iterator[Leaving]:
        while self._frames:
            frame, arrived = self._frames[0]
            newest = self._found[-1][0] if self._found else None
            known = "detections" not in self.awaited or (newest is not None and newest >= frame.timestamp)
            waited = bool(self.options.wait_ms) and now >= arrived + self.options.wait_ms / 1000
            if not (known or waited or ending or len(self._frames) > self.options.max_held):
                return
            self._frames.popleft()
            yield None, self._drawn(frame, self._boxes_at(frame.timestamp))

    def deadline(self) -> float | None:
        return self._frames[0][1] + self.options.wait_ms / 1000 if self._frames and self.options.wait_ms else None

    def _boxes(self, data: RuntimeData) -> list[Any]:
        value = data.as_json() if data.type is DataType.JSON else None
        boxes = value.get("boxes") if isinstance(value, dict) else None
        if not isinstance(boxes, list) or not all(map(_is_box, boxes)):
            raise DataError(
                f'node \'{self.node_id}\' (draw) takes detections like {{"boxes": [{{"x": 1, "y": 2, "w": 3, "h": 4}}]}}'
            )
        return boxes

    def _boxes_at(self, timestamp: int) -> list[Any]:
        """Give the boxes of this time, or the last ones before it that are not too old; forget what is older."""
        while len(self._found) > 1 and self._found[1][0] <= timestamp:
            self._found.popleft()
        if not self._found or self._found[0][0] > timestamp:
            return []
        time, boxes = self._found[0]
        return boxes if timestamp - time <= self.options.hold_ms * 1_000_000 else []

    def _drawn(self, frame: RuntimeData, boxes: list[Any]) -> RuntimeData:
        picture = bgr_of(self, frame, self._cv2)
        if not boxes and np.may_share_memory(picture, frame.as_numpy()):
            return frame
        picture = picture.copy()
        for box in boxes:
            self._draw(picture, box)
        fps = frame.metadata.fps if isinstance(frame.metadata, VideoMetadata) else 0.0
        made = RuntimeData.video(
            picture, fps=fps, timestamp=frame.timestamp, extra={**extra_of(frame), "boxes": len(boxes)}
        )
        return made.with_(session_id=frame.session_id, origin=frame.origin)

    def _draw(self, picture: Any, box: dict[str, Any]) -> None:
        cv2, options = self._cv2, self.options
        # OpenCV's coordinates are 16 bits wide when it draws.
        x, y, w, h = (round(max(-16000.0, min(16000.0, box[key]))) for key in "xywh")
        cv2.rectangle(picture, (x, y), (x + w, y + h), options.color, options.thickness)
        if options.labels and box.get("label"):
            score = box.get("score")
            text = f"{box['label']} {score:.2f}" if isinstance(score, (int, float)) else str(box["label"])
            cv2.putText(
                picture, text, (x, max(12, y - 6)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, options.color, 1, cv2.LINE_AA
            )


def _is_box(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key), (int, float)) and math.isfinite(value[key]) for key in "xywh"
    )
