"""Turns an `ArenaLayout` into the constant tables at the start of the arena file (structs of `csrc/words.h`).

Called by `Arena.create` only. The C code runs the same checks on these bytes as on a file that it attaches to.
"""

from __future__ import annotations

import struct
from typing import Final

from ringline.errors import ArenaError
from ringline.graph.layout import (
    CHANNEL_INFO_BYTES,
    HEADER_BYTES,
    NODE_INFO_BYTES,
    ArenaLayout,
    ArenaOffsets,
    ChannelPlan,
    offsets,
    ring_slots,
)
from ringline.shm._core import LAYOUT_VERSION

_HEADER: Final = struct.Struct("<8sIIQIIQQQQ64x")
_NODE: Final = struct.Struct("<56sQQQII40x")
_CHANNEL: Final = struct.Struct("<192sQIIIIIIQQ144x")
_POLICIES: Final = {"block": 0, "drop_oldest": 1, "drop_newest": 2, "latest": 3, "deadline": 4}
_NS_PER_MS: Final = 1_000_000


def pack(layout: ArenaLayout) -> bytes:
    """Pack the header and the tables of nodes and channels. Raises `ArenaError` for a channel between unknown nodes."""
    places = offsets(layout)
    names = [heap.node for heap in layout.nodes]
    nodes = b"".join(_pack_nodes(layout, places))
    channels = b"".join(
        _pack_channel(channel, names, ring) for channel, ring in zip(layout.channels, places.rings, strict=True)
    )
    table_bytes = HEADER_BYTES + len(names) * NODE_INFO_BYTES + len(layout.channels) * CHANNEL_INFO_BYTES
    header = _HEADER.pack(
        b"RINGLINE",
        LAYOUT_VERSION,
        table_bytes,
        places.size,
        len(names),
        len(layout.channels),
        layout.max_message_bytes,
        places.kill_words,
        places.node_words,
        places.channel_words,
    )
    return header + nodes + channels


def _pack_nodes(layout: ArenaLayout, places: ArenaOffsets) -> list[bytes]:
    packed = []
    first_block = 0
    for heap, start, size, table in zip(layout.nodes, places.heaps, places.heap_bytes, places.tables, strict=True):
        packed.append(_NODE.pack(heap.node.encode(), start, size, table, heap.blocks, first_block))
        first_block += heap.blocks
    return packed


def _pack_channel(channel: ChannelPlan, names: list[str], ring: int) -> bytes:
    if channel.producer not in names or channel.consumer not in names:
        raise ArenaError(
            f"channel '{channel.name}' joins '{channel.producer}' and '{channel.consumer}', but the arena's nodes are {names}"
        )
    return _CHANNEL.pack(
        channel.name.encode(),
        ring,
        channel.capacity,
        ring_slots(channel.capacity),
        names.index(channel.producer),
        names.index(channel.consumer),
        _POLICIES[channel.overflow],
        0,
        channel.block_timeout_ms * _NS_PER_MS,
        channel.deadline_ms * _NS_PER_MS if channel.overflow == "deadline" else 0,
    )
