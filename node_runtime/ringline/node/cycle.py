"""When a node that closes a declared cycle may end: all inputs from outside have ended, and nothing goes round any more.

Only the node that takes the feedback channel asks; the others of the cycle end when their inputs do. It looks at the counters
in shared memory twice: nothing queued, nobody busy, and no message sent between the two looks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

from ringline.names import HOST

if TYPE_CHECKING:
    from ringline.graph.layout import ChannelPlan
    from ringline.shm import Arena

LOOK_AGAIN_S: Final = 0.05


def members(node: str, channels: Collection[ChannelPlan]) -> set[str]:
    """Give the nodes that lie on a cycle through `node`, itself included; what the application feeds back is none."""
    edges = {
        (channel.producer, channel.consumer) for channel in channels if HOST not in (channel.producer, channel.consumer)
    }
    return _reach(node, edges) & _reach(node, {(end, begin) for begin, end in edges})


def _reach(start: str, edges: set[tuple[str, str]]) -> set[str]:
    found, fresh = {start}, {start}
    while fresh:
        fresh = {end for begin, end in edges if begin in fresh} - found
        found |= fresh
    return found


class Cycle:
    """The cycle through one node."""

    def __init__(self, arena: Arena, node: str, channels: Mapping[str, ChannelPlan]) -> None:
        self._arena = arena
        self._nodes = members(node, channels.values()) - {node}
        ring = self._nodes | {node}
        self._inner = [c.name for c in channels.values() if c.producer in ring and c.consumer in ring]
        self._outer = [c.name for c in channels.values() if c.producer not in ring and c.consumer in ring]
        self._before: tuple[int, ...] | None = None

    def settled(self) -> bool:
        """Say whether nothing can come round any more; ask again after `LOOK_AGAIN_S` if not."""
        sent, self._before = self._before, self._quiet()
        return sent is not None and sent == self._before

    def _quiet(self) -> tuple[int, ...] | None:
        """Give how many messages every inner channel has seen, or None if something is still on its way."""
        stats, nodes = self._arena.channel_stats(), self._arena.node_stats()
        queued = any(stats[name].current_occupancy for name in (*self._inner, *self._outer))
        busy = any(nodes[name].busy_since_ns for name in self._nodes)
        if queued or busy or not all(stats[name].ended for name in self._outer):
            return None
        return tuple(stats[name].message_count for name in self._inner)
