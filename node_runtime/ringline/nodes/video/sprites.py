"""What the pattern source moves: small pictures with a mask. Pure drawing."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringline.nodes.video.pictures import Picture

BACKGROUND: Final = 40
"""Grey value around what moves."""
_BRIGHT: Final = (80, 200, 240)

_OVALS: Final = (
    (1.00, 1.00, 0.55, 0.75, 205, 0),  # head
    (1.00, 0.42, 0.56, 0.30, 60, 180),  # hair
    *((x, 0.72, 0.16, 0.035, 70, 0) for x in (0.76, 1.24)),  # eyebrows
    *((x, 0.85, 0.15, 0.08, 120, 0) for x in (0.76, 1.24)),  # eye sockets
    *((x, 0.85, 0.12, 0.055, 90, 0) for x in (0.76, 1.24)),
    *((x, 0.85, 0.05, 0.05, 30, 0) for x in (0.76, 1.24)),  # pupils
    (1.00, 1.08, 0.06, 0.22, 225, 0),  # nose
    (1.00, 1.22, 0.10, 0.03, 140, 0),
    (1.00, 1.42, 0.22, 0.05, 110, 0),  # mouth
)
"""Centre x and y, half axes, grey value, and the angle where it begins (180: the upper half); 2 is the picture's size."""


def sprite(pattern: str, size: int, cv2: Any) -> tuple[Picture, NDArray[np.bool_]]:
    """Give a picture of shape (size, size, 3) and the mask (size, size, 1) of the pixels that belong to it."""
    if pattern == "face":
        grey = _face(size, cv2)
        return np.repeat(grey[:, :, None], 3, axis=2), np.ones((size, size, 1), np.bool_)
    picture: Picture = np.full((size, size, 3), _BRIGHT, np.uint8)
    if pattern == "square":
        return picture, np.ones((size, size, 1), np.bool_)
    y, x = np.ogrid[:size, :size]
    radius = size / 2
    inside = (x + 0.5 - radius) ** 2 + (y + 0.5 - radius) ** 2 <= radius**2
    return picture, inside[:, :, None]


def _face(size: int, cv2: Any) -> Picture:
    """Draw the shades that cascade detectors look for: dark eyes in a bright face, a brighter nose, a dark mouth."""
    half = size / 2
    face: Picture = np.full((size, size), 150, np.uint8)
    for x, y, w, h, grey, start in _OVALS:
        centre, axes = (round(x * half), round(y * half)), (max(1, round(w * half)), max(1, round(h * half)))
        cv2.ellipse(face, centre, axes, 0, start, 360, grey, -1)
    blurred: Picture = cv2.GaussianBlur(face, (0, 0), max(0.5, half * 0.025))
    return blurred
