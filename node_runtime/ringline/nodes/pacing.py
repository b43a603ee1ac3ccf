"""Sending at the speed of the media. Used by all sources in the box."""

from __future__ import annotations

import asyncio
from typing import Literal

from pydantic import Field

from ringline.nodes.support import BoxConfig

Pace = Literal["realtime", "fast"]


class PacedConfig(BoxConfig):
    """The option that all sources share."""

    pace: Pace = Field(
        "realtime", description="realtime: as fast as it would be played; fast: as fast as the graph takes it."
    )


class Pacer:
    """Waits until a media time has come, measured from the first call: late sends do not add up."""

    def __init__(self, pace: Pace) -> None:
        self._realtime = pace == "realtime"
        self._start: float | None = None

    async def until(self, media_ns: int) -> None:
        """Wait for this media time; with `fast` only let other tasks run."""
        now = asyncio.get_running_loop().time()
        if self._start is None:
            self._start = now - media_ns / 1e9
        ahead = self._start + media_ns / 1e9 - now
        await asyncio.sleep(max(0.0, ahead) if self._realtime else 0.0)
