"""How a session's shared memory is divided: which heap, ring and block table lies where, and what it all costs.

Pure arithmetic, so that the operator can compute a pod's memory without the C extension. `graph.plan` builds the
`ArenaLayout` of a session; `ringline.shm` turns its `offsets()` into the header of the arena file. Offsets are
computed here and nowhere else: the C code reads them from the header and checks their bounds.

Layout of the file, every part on a 64-byte line, kill words and heaps on a page::

    header and tables (constant) | kill words (one page) | node words | channel words | rings | block tables | heaps
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ringline.errors import ResourceLimitError
from ringline.names import MAX_CAPACITY, MAX_CHANNELS, MAX_NODES

Overflow = Literal["block", "drop_oldest", "drop_newest", "latest", "deadline"]

LINE: Final = 64
PAGE: Final = 4096
HEADER_BYTES: Final = 128
NODE_INFO_BYTES: Final = 128
CHANNEL_INFO_BYTES: Final = 384
GLOBAL_WORDS_BYTES: Final = 64
NODE_WORDS_BYTES: Final = 640
CHANNEL_WORDS_BYTES: Final = 512
INLINE_METADATA_BYTES: Final = 512
SLOT_BYTES: Final = 64 + INLINE_METADATA_BYTES
BLOCK_ENTRY_BYTES: Final = 64
MAX_METADATA_BYTES: Final = 64 << 10
"""Metadata beyond the inline part travels in a block of its own; each heap has room for one such block beside its payloads."""
MAX_BLOCKS: Final = 65536
HELD_BEYOND_CAPACITY: Final = 16
"""A reader may hold capacity + 16 messages of a channel."""
MAX_FILE_BYTES: Final = (1 << 32) - PAGE
"""Descriptors carry 32-bit offsets."""


@dataclass(frozen=True, slots=True)
class ChannelPlan:
    """One edge of the graph. `block_timeout_ms` and `deadline_ms` are 0 when they do not apply."""

    index: int
    name: str
    producer: str
    producer_port: str
    consumer: str
    consumer_port: str
    capacity: int
    overflow: Overflow = "block"
    block_timeout_ms: int = 0
    deadline_ms: int = 0
    kind: str = "any"


@dataclass(frozen=True, slots=True)
class HeapPlan:
    """One node's part of the arena: `bytes` for payloads and `blocks` table entries, both 0 for a node without outputs."""

    node: str
    bytes: int
    blocks: int


@dataclass(frozen=True, slots=True)
class ArenaLayout:
    """What `Arena.create` needs. `nodes` ends with the host; `size_bytes` is the size of the arena file."""

    nodes: tuple[HeapPlan, ...]
    channels: tuple[ChannelPlan, ...]
    max_message_bytes: int
    heap_bytes_total: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ArenaOffsets:
    """Byte offsets into the arena file, and its size. Heaps of 0 bytes have the offset of the next part."""

    kill_words: int
    node_words: int
    channel_words: int
    rings: tuple[int, ...]
    tables: tuple[int, ...]
    heaps: tuple[int, ...]
    heap_bytes: tuple[int, ...]
    size: int


def arena_layout(
    nodes: Sequence[str], channels: Sequence[ChannelPlan], *, max_message_bytes: int, shm_bytes: int
) -> ArenaLayout:
    """Divide at most `shm_bytes` among the heaps of `nodes` (the host is the last one).

    Each node that writes a channel gets room for two of the largest messages; when that exceeds `shm_bytes`, all heaps
    shrink alike, never below one message. Raises `ResourceLimitError` that names `shmSize` when even that is too much.
    """
    _check_counts(nodes, channels)
    writers = {channel.producer for channel in channels}
    blocks = {node: heap_blocks(c for c in channels if c.producer == node) for node in writers}
    empty = _layout(nodes, channels, blocks, max_message_bytes, 0)
    room = shm_bytes - empty.size_bytes - len(writers) * (MAX_METADATA_BYTES + PAGE)
    wanted = 2 * max_message_bytes
    if writers and room < wanted * len(writers):
        wanted = room // len(writers) // PAGE * PAGE
    if writers and wanted < max_message_bytes:
        least = _layout(nodes, channels, blocks, max_message_bytes, max_message_bytes).size_bytes
        raise ResourceLimitError(
            f"shmSize {shm_bytes} is too small: {len(writers)} heaps of one maxMessageSize ({max_message_bytes} bytes) each "
            f"need {least} bytes; raise shmSize (shm_segment_size) or lower maxMessageSize (max_message_size)"
        )
    return _layout(nodes, channels, blocks, max_message_bytes, wanted)


def heap_blocks(channels: Iterable[ChannelPlan]) -> int:
    """Entries in the block table of the node that writes `channels`; 0 if it writes none.

    Each channel may have its capacity queued and capacity + 16 held, one more of each in flight; twice that, since a
    message may take a second block for its metadata.
    """
    counts = [2 * channel.capacity + HELD_BEYOND_CAPACITY + 2 for channel in channels]
    return min(MAX_BLOCKS, 2 * (sum(counts) + 8)) if counts else 0


def ring_slots(capacity: int) -> int:
    """Slots of a ring: a power of two, so that 32-bit positions may wrap."""
    return 1 << max(0, capacity - 1).bit_length()


def offsets(layout: ArenaLayout) -> ArenaOffsets:
    """Where each part lies. Pure: the same layout gives the same offsets everywhere."""
    count, channels = len(layout.nodes), layout.channels
    kill = _up(HEADER_BYTES + count * NODE_INFO_BYTES + len(channels) * CHANNEL_INFO_BYTES, PAGE)
    node_words = kill + PAGE
    channel_words = node_words + GLOBAL_WORDS_BYTES + count * NODE_WORDS_BYTES
    rings, at = _place(
        channel_words + len(channels) * CHANNEL_WORDS_BYTES,
        [ring_slots(c.capacity) * SLOT_BYTES for c in channels],
        LINE,
    )
    tables, at = _place(at, [heap.blocks * BLOCK_ENTRY_BYTES for heap in layout.nodes], LINE)
    heap_bytes = tuple(_up(heap.bytes + MAX_METADATA_BYTES, PAGE) if heap.bytes else 0 for heap in layout.nodes)
    heaps, at = _place(_up(at, PAGE), heap_bytes, PAGE)
    return ArenaOffsets(kill, node_words, channel_words, rings, tables, heaps, heap_bytes, _up(at, PAGE))


def _layout(
    nodes: Sequence[str],
    channels: Sequence[ChannelPlan],
    blocks: dict[str, int],
    max_message_bytes: int,
    heap_bytes: int,
) -> ArenaLayout:
    heaps = tuple(HeapPlan(node, heap_bytes if node in blocks else 0, blocks.get(node, 0)) for node in nodes)
    total = sum(heap.bytes for heap in heaps)
    size = offsets(ArenaLayout(heaps, tuple(channels), max_message_bytes, total, 0)).size
    return ArenaLayout(heaps, tuple(channels), max_message_bytes, total, size)


def _check_counts(nodes: Sequence[str], channels: Sequence[ChannelPlan]) -> None:
    if len(nodes) > MAX_NODES + 1 or len(channels) > MAX_CHANNELS:
        raise ResourceLimitError(
            f"{len(nodes) - 1} nodes and {len(channels)} channels; at most {MAX_NODES} nodes and {MAX_CHANNELS} channels "
            "(inputs and outputs counted) fit in one session: split the pipeline"
        )
    for channel in channels:
        if not 1 <= channel.capacity <= MAX_CAPACITY:
            raise ResourceLimitError(
                f"channel '{channel.name}': capacity {channel.capacity} is not between 1 and {MAX_CAPACITY}"
            )


def _place(start: int, sizes: Sequence[int], align: int) -> tuple[tuple[int, ...], int]:
    found = []
    at = start
    for size in sizes:
        found.append(at)
        at = _up(at + size, align)
    return tuple(found), at


def _up(value: int, align: int) -> int:
    return -(-value // align) * align
