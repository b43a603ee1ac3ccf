"""Where something moves: the difference to a background that is learnt."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ringline import DataType, MultiprocessNode, RuntimeData, register_node
from ringline.nodes.support import BoxConfig, Ports
from ringline.nodes.video.pictures import Picture, Rectangle, bgr_of, detections, opencv, scaled_box, shrunk


class MotionDetectorConfig(BoxConfig):
    threshold: int = Field(25, ge=1, le=254, description="How much a pixel must differ from the background (0 to 255).")
    min_area: float = Field(0.001, gt=0, le=1, description="Smallest moving area, as a part of the picture.")
    learning_rate: float = Field(
        0.05, gt=0, le=1, description="How quickly the background follows, per picture; 1 compares with the last one."
    )
    max_width: int = Field(
        320, ge=0, le=7680, description="Pictures are made so small before; 0: never. Smaller is quicker."
    )


@register_node("motion_detector")
class MotionDetector(MultiprocessNode):
    """Finds moving areas.

    Input `video`. Output `detections`: JSON for every picture: `width`, `height` and `boxes` (each `x`, `y`, `w`, `h` in pixels,
    `label` "motion", `score` the moving part of the box), largest first, with the picture's timestamp. The first picture, and
    the first of another size, is the background.

    Needs the extra `video`. Example::

        - {name: motion, type: motion_detector, config: {threshold: 25}}
    """

    inputs: ClassVar[Ports] = {"video": DataType.VIDEO}
    outputs: ClassVar[Ports] = {"detections": DataType.JSON}
    Config = MotionDetectorConfig
    one_to_one = True
    extra = "video"
    options: MotionDetectorConfig

    def initialize(self) -> None:
        self._cv2 = opencv()
        self._background: NDArray[np.float32] | None = None

    def process(self, data: RuntimeData) -> RuntimeData:
        picture = bgr_of(self, data, self._cv2)
        small, factor = shrunk(picture, self.options.max_width, self._cv2)
        boxes = [scaled_box(place, factor, "motion", part) for place, part in self._moving(small)]
        return detections(data, picture, boxes)

    def on_flush(self) -> None:
        self._background = None

    def _moving(self, picture: Picture) -> list[tuple[Rectangle, float]]:
        cv2 = self._cv2
        grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (5, 5), 0)
        if self._background is None or self._background.shape != grey.shape:
            self._background = grey.astype(np.float32)
            return []
        difference = cv2.absdiff(grey, cv2.convertScaleAbs(self._background))
        cv2.accumulateWeighted(grey, self._background, self.options.learning_rate)
        _, mask = cv2.threshold(difference, self.options.threshold, 255, cv2.THRESH_BINARY)
        mask = cv2.dilate(mask, None, iterations=2)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        least = self.options.min_area * grey.size
        areas = sorted(((cv2.contourArea(contour), cv2.boundingRect(contour)) for contour in contours), reverse=True)
        return [(place, area / max(1, place[2] * place[3])) for area, place in areas if area >= least]
