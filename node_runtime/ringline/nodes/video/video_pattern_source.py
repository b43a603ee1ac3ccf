"""Moving pictures made up, with the truth about what is in them: for tests, examples and measurements."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from ringline import DataType, RuntimeData, SourceNode, register_node
from ringline.nodes.pacing import PacedConfig, Pacer
from ringline.nodes.support import Ports
from ringline.nodes.video.pictures import Picture, opencv
from ringline.nodes.video.sprites import BACKGROUND, sprite


class VideoPatternSourceConfig(PacedConfig):
    pattern: Literal["square", "ball", "face"] = Field(
        "square", description="What moves: a square, a ball, or a drawn face that face detectors find."
    )
    width: int = Field(640, ge=16, le=7680, multiple_of=2, description="Width in pixels.")
    height: int = Field(480, ge=16, le=4320, multiple_of=2, description="Height in pixels.")
    fps: float = Field(30.0, gt=0, le=1000, description="Pictures per second.")
    count: int = Field(0, ge=0, description="End after so many pictures; 0: when the session ends.")
    size: int = Field(
        0,
        ge=0,
        le=4320,
        description="Size of what moves in pixels; 0: a quarter of the height (half of it for a face).",
    )
    speed: float = Field(
        120.0, ge=0, le=100_000, description="Pixels per second along each axis; it bounces off the borders."
    )


@register_node("video_pattern_source")
class VideoPatternSource(SourceNode):
    """Makes pictures in which something moves.

    No input. Output `video`: bgr24 pictures, timestamps from 0 at exactly `fps`; `extra` has `frame` (0, 1, …) and `box`
    ([x, y, w, h] of what moves). The same options give the same pictures each time.

    Needs the extra `video`. Example::

        - {name: camera, type: video_pattern_source, config: {pattern: face, fps: 60, count: 300}}
    """

    outputs: ClassVar[Ports] = {"video": DataType.VIDEO}
    Config = VideoPatternSourceConfig
    extra = "video"
    options: VideoPatternSourceConfig

    def initialize(self) -> None:
        options = self.options
        size = options.size or options.height // (2 if options.pattern == "face" else 4)
        self._size = min(size, options.width, options.height)
        self._sprite, self._mask = sprite(options.pattern, self._size, opencv())
        self._empty: Picture = np.full((options.height, options.width, 3), BACKGROUND, np.uint8)

    async def produce(self) -> AsyncIterator[RuntimeData]:
        pacer, number = Pacer(self.options.pace), 0
        while not self.options.count or number < self.options.count:
            timestamp = round(number * 1_000_000_000 / self.options.fps)
            await pacer.until(timestamp)
            yield self._frame(number, timestamp)
            number += 1

    def _frame(self, number: int, timestamp: int) -> RuntimeData:
        travelled = number * self.options.speed / self.options.fps
        x = _bounced(travelled, self.options.width - self._size)
        y = _bounced(travelled, self.options.height - self._size)
        picture = self._empty.copy()
        window = picture[y : y + self._size, x : x + self._size]
        np.copyto(window, self._sprite, where=self._mask)
        extra: dict[str, Any] = {"frame": number, "box": [x, y, self._size, self._size]}
        return RuntimeData.video(picture, fps=self.options.fps, timestamp=timestamp, extra=extra)


def _bounced(travelled: float, room: int) -> int:
    """Give the position after a way that is reflected at 0 and at `room`."""
    if room <= 0:
        return 0
    phase = travelled % (2 * room)
    return round(min(phase, 2 * room - phase))
