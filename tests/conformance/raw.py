"""The arena file as a neighbour sees it: any word can be read and written, and nobody is asked."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from ringline.graph.layout import (
    BLOCK_ENTRY_BYTES,
    CHANNEL_WORDS_BYTES,
    GLOBAL_WORDS_BYTES,
    NODE_WORDS_BYTES,
    SLOT_BYTES,
    ArenaLayout,
    offsets,
    ring_slots,
)

# Words of a channel, of a node, of a slot, of a block's entry (`csrc/words.h`).
HEAD, TAIL, DROP, DROP_SECOND, MARK, END, BYTES, COPIES = 0, 64, 128, 136, 192, 256, 320, 328
GATE, LIFE, BELL, FLUSH = 0, 64, 128, 192
W0, EXTENT, SHAPE, SEQUENCE, STAMP = 0, 8, 16, 40, 48
REFS, OFFSET, SIZE = 0, 8, 16
OPEN, BUSY, HOSTED, FENCED = range(4)
NO_BLOCK = 0xFFFFFFFF
WORD = (1 << 64) - 1


class Raw:
    """An arena's file and where its words lie."""

    def __init__(self, directory: Path, layout: ArenaLayout) -> None:
        self.layout, self.places = layout, offsets(layout)
        self._names = [c.name for c in layout.channels]
        self._nodes = [heap.node for heap in layout.nodes]
        self._fd = os.open(directory / "arena", os.O_RDWR)

    def close(self) -> None:
        os.close(self._fd)

    def peek(self, at: int) -> int:
        return int(struct.unpack("<Q", os.pread(self._fd, 8, at))[0])

    def poke(self, at: int, value: int) -> None:
        os.pwrite(self._fd, struct.pack("<Q", value & WORD), at)

    def channel(self, name: str, word: int = 0) -> int:
        return self.places.channel_words + CHANNEL_WORDS_BYTES * self._names.index(name) + word

    def node(self, name: str, word: int = 0) -> int:
        return self.places.node_words + GLOBAL_WORDS_BYTES + NODE_WORDS_BYTES * self._nodes.index(name) + word

    def slot(self, name: str, position: int, word: int = 0) -> int:
        index = self._names.index(name)
        slots = ring_slots(self.layout.channels[index].capacity)
        return self.places.rings[index] + SLOT_BYTES * (position % slots) + word

    def block(self, number: int, word: int = 0) -> int:
        for heap, table in zip(self.layout.nodes, self.places.tables, strict=True):
            if number < heap.blocks:
                return table + BLOCK_ENTRY_BYTES * number + word
            number -= heap.blocks
        raise IndexError(number)

    def bit(self, name: str) -> int:
        return 1 << self._names.index(name)

    def references(self) -> Iterator[int]:
        """Give the reference word of every block."""
        for heap, table in zip(self.layout.nodes, self.places.tables, strict=True):
            data = os.pread(self._fd, heap.blocks * BLOCK_ENTRY_BYTES, table)
            yield from (word for (word,) in struct.iter_unpack("<Q56x", data))

    def blocks_of(self, name: str) -> int:
        """Count the blocks that a channel refers to."""
        return sum(bool(word & self.bit(name)) for word in self.references())

    def start_at(self, name: str, taken: int, dropped: int) -> None:
        """Let a new channel begin as if it had moved that many messages."""
        self.poke(self.channel(name, HEAD), taken + dropped)
        self.poke(self.channel(name, TAIL), (taken & NO_BLOCK) << 32 | (dropped & NO_BLOCK))
