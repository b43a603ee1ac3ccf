"""Where faces are: OpenCV's Haar cascades, which its wheel ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from ringline import DataType, MultiprocessNode, NodeConfigError, RuntimeData, register_node
from ringline.nodes.support import BoxConfig, Ports
from ringline.nodes.video.pictures import Picture, Rectangle, bgr_of, detections, opencv, scaled_box, shrunk


class FaceDetectorConfig(BoxConfig):
    cascade: str = Field(
        "frontalface_default",
        min_length=1,
        description="A cascade of OpenCV's (frontalface_alt2, profileface, eye, upperbody …) or the path of an XML file.",
    )
    label: str = Field("face", max_length=60, description="What to call what is found.")
    scale_factor: float = Field(
        1.1, gt=1.0, le=2.0, description="Step between the sizes that are tried; larger is quicker and misses more."
    )
    min_neighbors: int = Field(
        5, ge=0, le=100, description="How many overlapping finds make one; more means fewer false ones."
    )
    min_size: float = Field(0.1, gt=0, le=1, description="Smallest face, as a part of the picture's height.")
    max_width: int = Field(
        320, ge=0, le=7680, description="Pictures are made so small before; 0: never. Smaller is quicker."
    )


@register_node("face_detector")
class FaceDetector(MultiprocessNode):
    """Finds faces, or what another cascade was trained for.

    Input `video`. Output `detections`: JSON for every picture: `width`, `height` and `boxes` (each `x`, `y`, `w`, `h` in pixels,
    `label`, `score` from 0 to 1: how sure the cascade is), largest first, with the picture's timestamp.

    Needs the extra `video`. Example::

        - {name: faces, type: face_detector, config: {max_width: 320, min_neighbors: 5}}
    """

    inputs: ClassVar[Ports] = {"video": DataType.VIDEO}
    outputs: ClassVar[Ports] = {"detections": DataType.JSON}
    Config = FaceDetectorConfig
    one_to_one = True
    extra = "video"
    options: FaceDetectorConfig

    def initialize(self) -> None:
        self._cv2 = opencv()
        self._cascade = self._load()

    def process(self, data: RuntimeData) -> RuntimeData:
        picture = bgr_of(self, data, self._cv2)
        small, factor = shrunk(picture, self.options.max_width, self._cv2)
        boxes = [scaled_box(place, factor, self.options.label, score) for place, score in self._faces(small)]
        return detections(data, picture, boxes)

    def _load(self) -> Any:
        name = self.options.cascade
        folder = Path(self._cv2.data.haarcascades)
        path = Path(name) if name.endswith(".xml") else folder / f"haarcascade_{name}.xml"
        cascade = self._cv2.CascadeClassifier(str(path)) if path.is_file() else None
        if cascade is None or cascade.empty():
            known = ", ".join(
                sorted(file.stem.removeprefix("haarcascade_") for file in folder.glob("haarcascade_*.xml"))
            )
            raise NodeConfigError(
                f"node '{self.node_id}' (face_detector) has no cascade {name!r}; OpenCV ships: {known}"
            )
        return cascade

    def _faces(self, picture: Picture) -> list[tuple[Rectangle, float]]:
        grey = self._cv2.equalizeHist(self._cv2.cvtColor(picture, self._cv2.COLOR_BGR2GRAY))
        least = max(1, round(self.options.min_size * grey.shape[0]))
        found, _, weights = self._cascade.detectMultiScale3(
            grey, self.options.scale_factor, self.options.min_neighbors, 0, (least, least), outputRejectLevels=True
        )
        pairs = [
            ((int(x), int(y), int(w), int(h)), _sureness(float(weight)))
            for (x, y, w, h), weight in zip(found, weights, strict=True)
        ]
        return sorted(pairs, key=lambda pair: -pair[0][2])


def _sureness(weight: float) -> float:
    """Map a cascade's weight (0 to about 10, without a fixed end) to 0..1."""
    return max(0.0, min(1.0, weight / 8.0))
