"""Channel and node statistics as the documented JSON and as tables: shared by run and top.

Rates need two readings; `Rates` keeps the one before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ringline.cli.console import human_bytes, human_seconds, table
from ringline.cli.shapes import ChannelShape, NodeShape
from ringline.names import HOST

if TYPE_CHECKING:
    from rich.table import Table

    from ringline.host.status import NodeStatus
    from ringline.shm import ChannelStats, LatencyHistogram


def channel_shape(stats: ChannelStats) -> ChannelShape:
    """Turn a ring's statistics into the documented JSON object."""
    return ChannelShape(
        producer=stats.producer,
        consumer=stats.consumer,
        messages=stats.message_count,
        bytes=stats.bytes_transferred,
        occupancy=stats.current_occupancy,
        capacity=stats.capacity,
        dropped={reason: count for reason, count in stats.dropped.items() if count},
        blocked_seconds=round(stats.blocked_seconds, 6),
    )


def node_shape(status: NodeStatus) -> NodeShape:
    """Turn a node's status into the documented JSON object."""
    last = status.last_exit
    return NodeShape(
        state=status.state,
        pid=status.pid,
        epoch=status.epoch,
        restarts=status.restarts,
        progress=status.progress,
        message=status.message,
        exit_code=last.exit_code if last else None,
        reason=last.reason if last else None,
    )


class Rates:
    """Messages and bytes per second of each channel between two readings."""

    def __init__(self) -> None:
        self._at = 0.0
        self._before: dict[str, tuple[int, int]] = {}

    def of(self, channels: Mapping[str, ChannelShape], now: float | None = None) -> dict[str, tuple[float, float]]:
        """Return (messages/s, bytes/s) by channel since the last call; zeros at the first."""
        at = time.monotonic() if now is None else now
        elapsed = at - self._at if self._before else 0.0
        rates = {name: _per_second(channel, self._before.get(name), elapsed) for name, channel in channels.items()}
        self._at = at
        self._before = {name: (channel["messages"], channel["bytes"]) for name, channel in channels.items()}
        return rates


def _per_second(channel: ChannelShape, before: tuple[int, int] | None, elapsed: float) -> tuple[float, float]:
    if before is None or elapsed <= 0:
        return 0.0, 0.0
    return max(0, channel["messages"] - before[0]) / elapsed, max(0, channel["bytes"] - before[1]) / elapsed


def quantile(histogram: LatencyHistogram, share: float) -> float | None:
    """Return the bound in seconds below which a share of the latencies lies; None without any, infinity above all bounds."""
    from ringline.shm.stats import BUCKET_BOUNDS_S

    below = 0
    for bound, count in zip((*BUCKET_BOUNDS_S, math.inf), histogram.counts, strict=False):
        below += count
        if histogram.count and below >= share * histogram.count:
            return bound
    return None


def drops_text(channel: ChannelShape) -> str:
    """Write drops as ``12 overwritten, 1 timeout``, or ``-``."""
    return ", ".join(f"{count} {reason}" for reason, count in channel["dropped"].items()) or "-"


def channel_table(
    channels: Mapping[str, ChannelShape],
    rates: Mapping[str, tuple[float, float]] | None = None,
    *,
    title: str | None = None,
) -> Table:
    """Build the table of channels; with `rates` (a live display) it shows them too."""
    headings = ["channel", "messages>", "data>", "queued>", "dropped", "blocked>"]
    if rates is not None:
        headings[3:3] = ["msg/s>", "data/s>"]
    rows = [_channel_row(name, channel, rates) for name, channel in channels.items()]
    return table(headings, rows, title=title)


def _channel_row(name: str, channel: ChannelShape, rates: Mapping[str, tuple[float, float]] | None) -> list[str]:
    row = [
        name,
        str(channel["messages"]),
        human_bytes(channel["bytes"]),
        f"{channel['occupancy']}/{channel['capacity']}",
        drops_text(channel),
        human_seconds(channel["blocked_seconds"]) if channel["blocked_seconds"] else "-",
    ]
    if rates is not None:
        messages, data = rates.get(name, (0.0, 0.0))
        row[3:3] = [f"{messages:.0f}", human_bytes(data)]
    return row


def node_table(nodes: Mapping[str, NodeShape], *, title: str | None = None) -> Table:
    """Build the table of nodes of a running session."""
    rows = [
        (name, node["state"], f"{node['progress']:.0%}", node["pid"] or "-", node["restarts"], node["message"])
        for name, node in nodes.items()
    ]
    return table(("node", "state", "start>", "pid>", "restarts>", ""), rows, title=title)


def end_of(name: str) -> str:
    """Write a channel's end as people say it: the host's is the application."""
    return "application" if name == HOST else name
