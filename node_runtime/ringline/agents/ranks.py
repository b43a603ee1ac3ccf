"""What waits, by rank: a lower one goes first. Mostly that is who came first, so most is done without a heap.

`hands` uses it for what threads are to do, `roster` for what a worker is to be sent.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

Entry = TypeVar("Entry", bound=tuple[Any, ...])


class Ranked(Generic[Entry]):
    """A queue of tuples by their first item, of which no two are equal."""

    def __init__(self) -> None:
        self._rising: deque[Entry] = deque()
        self._heap: list[Entry] = []

    def push(self, entry: Entry) -> None:
        """Put an entry in its place."""
        if not self._rising or entry > self._rising[-1]:
            self._rising.append(entry)
        else:
            heapq.heappush(self._heap, entry)

    def pop(self) -> Entry:
        """Take the first. Raises `IndexError` if there is none."""
        if self._heap and (not self._rising or self._heap[0] < self._rising[0]):
            return heapq.heappop(self._heap)
        return self._rising.popleft()

    def clear(self) -> None:
        """Take all."""
        self._rising.clear()
        self._heap.clear()

    def __len__(self) -> int:
        return len(self._rising) + len(self._heap)

    def __iter__(self) -> Iterator[Entry]:
        yield from self._rising
        yield from self._heap
