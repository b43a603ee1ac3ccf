"""What a way of transfer must offer to be measured.

A `Transport` is made in the parent and handed to the child process before either side calls `open`. The sender writes the
whole payload for each message; the receiver gets it in the cheapest form that it can be looked at in, which is not the same
for all: bytes, a memoryview or an array. Both sides block while they wait, unless the name says "busy".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.uint8]
Side = Literal["client", "server"]
LARGEST = 10 << 20
DEPTH = 4
"""Messages of room that each way gets where one can choose; streams of small messages have more."""


class Transport(ABC):
    """One connection between a client and a server. The server is a child process of the client."""

    name: str
    package: str = ""
    in_place = False
    """Whether `send_in_place` works: the payload is written where the receiver reads it."""
    busy = False
    """Whether the receiver polls, and so keeps a CPU busy: such a way needs two of them."""

    def __init__(self, depth: int = DEPTH, largest: int = LARGEST, *, streaming: bool = False) -> None:
        self.depth = depth
        self.largest = largest
        self.streaming = streaming
        """Many messages one way, so that the sender must wait for room by itself, and may write the next one at once."""

    @staticmethod
    def installed() -> bool:
        return True

    @abstractmethod
    def open(self, side: Side) -> None: ...

    @abstractmethod
    def send(self, array: Array) -> None: ...

    @abstractmethod
    def receive(self) -> Any:
        """Return something that holds the payload's bytes: its items are numbers, and it can be unpacked by `struct`."""

    def send_in_place(self, size: int, head: bytes) -> None:
        """Send `size` bytes of which only the first few are written."""
        raise AssertionError(f"{self.name} can't write {len(head)} of {size} bytes in place")

    def release(self) -> None:  # noqa: B027  (most have nothing to give back)
        """Give back what `receive` returned last; the receiver has let go of it."""

    @abstractmethod
    def close(self) -> None:
        """Release everything; the client's side also removes what both shared."""
