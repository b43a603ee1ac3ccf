"""Sample-rate conversion of a stream. Used by the resampler, the mixer, the file sink, recognition and synthesis."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ringline.nodes.audio.samples import Frames
from ringline.nodes.support import optional_library

Quality = Literal["QQ", "LQ", "MQ", "HQ", "VHQ"]


class RateConverter:
    """Converts one stream of `channels` from one rate to another, without clicks at block borders.

    What comes out is aligned with what went in: output sample k is at time k / `to_rate` from the first input sample. The
    filter keeps a few ms back; `finish` gives them.
    """

    def __init__(self, from_rate: int, to_rate: int, channels: int, *, quality: Quality = "HQ") -> None:
        self.from_rate, self.to_rate, self.channels = from_rate, to_rate, channels
        self._stream: Any = None
        if from_rate != to_rate:
            soxr = optional_library("soxr", "audio")
            self._stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32", quality=quality)

    def fits(self, rate: int, channels: int) -> bool:
        """Say whether blocks of this format may be fed on."""
        return (rate, channels) == (self.from_rate, self.channels)

    def feed(self, frames: Frames) -> Frames:
        """Convert the next block, shape (n, channels); what comes may be shorter or longer than its share."""
        return frames if self._stream is None else self._convert(frames, last=False)

    def finish(self) -> Frames:
        """Give what the filter still holds. The converter is used up then."""
        empty: Frames = np.zeros((0, self.channels), np.float32)
        if self._stream is None:
            return empty
        rest = self._convert(empty, last=True)
        self._stream = None
        return rest

    def _convert(self, frames: Frames, *, last: bool) -> Frames:
        made: Frames = self._stream.resample_chunk(np.ascontiguousarray(frames), last=last)
        return made.reshape(-1, self.channels)
