"""Room for the values of a `SharedState`: extents of 2 ** n bytes, free ones in a list per size, all in the file itself.

Used by the writer that holds the lock. A writer that was killed leaves the lists in any state; `rebuild` makes them anew from
what the slots say, which is always true of the current side of each.
"""

from __future__ import annotations

from typing import Final

from ringline.agents.state_file import CHANGE, FREE, LARGEST, NOWHERE, SMALLEST, TOP, StateFile
from ringline.shm._core import load_word, store_word

DELETED: Final = 2
"""Bit of a slot's word; bit 0 is the side, the rest the version."""


def size_class(length: int) -> int:
    """Give the smallest n with 2 ** n >= length that extents have."""
    return max(SMALLEST, (max(1, length) - 1).bit_length())


def allocate(file: StateFile, length: int) -> int:
    """Give the offset of a free extent for `length` bytes, 0 if there is none."""
    for kind in range(size_class(length), LARGEST + 1):
        head = load_word(file.map, FREE + 8 * kind)
        if head:
            store_word(file.map, FREE + 8 * kind, load_word(file.map, head))
            _give_back_rest(file, head, kind, size_class(length))
            return head
        if kind == size_class(length) and (fresh := _fresh(file, kind)):
            return fresh
    return 0


def _fresh(file: StateFile, kind: int) -> int:
    """Take an extent from the part that was never used."""
    top = load_word(file.map, TOP) or file.heap
    if top + (1 << kind) > file.size:
        return 0
    store_word(file.map, TOP, top + (1 << kind))
    return top


def _give_back_rest(file: StateFile, offset: int, kind: int, wanted: int) -> None:
    """Split an extent that is larger than wanted."""
    while kind > wanted:
        kind -= 1
        free(file, offset + (1 << kind), 1 << kind)


def free(file: StateFile, offset: int, length: int) -> None:
    """Give an extent back."""
    if offset:
        where = FREE + 8 * size_class(length)
        store_word(file.map, offset, load_word(file.map, where))
        store_word(file.map, where, offset)


def rebuild(file: StateFile) -> None:
    """Repair what a dead writer left: only the current side of each living slot is used, all other room is free."""
    used: list[tuple[int, int]] = []
    newest = load_word(file.map, CHANGE)
    for index in range(file.slots):
        slot = file.slot(index)
        word = load_word(file.map, slot)
        newest = max(newest, word >> 2)
        for side in (0, 1):
            if word and not word & DELETED and side == word & 1:
                extent = file.extent(slot, side)
                used.append((extent.offset, 1 << size_class(extent.kind)))
            else:
                file.set_extent(slot, side, NOWHERE)
    for kind in range(LARGEST + 1):
        store_word(file.map, FREE + 8 * kind, 0)
    end = file.heap
    for offset, size in sorted(used):
        _free_range(file, end, offset)
        end = offset + size
    store_word(file.map, TOP, end)
    store_word(file.map, CHANGE, newest)


def _free_range(file: StateFile, begin: int, end: int) -> None:
    """Cut a range that is a multiple of the smallest extent into free ones."""
    while end - begin >= 1 << SMALLEST:
        kind = min(LARGEST, (end - begin).bit_length() - 1)
        free(file, begin, 1 << kind)
        begin += 1 << kind
