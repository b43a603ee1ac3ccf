"""What a way of transfer must offer to be measured.

A `Transport` is made in the parent and handed to the child process before either side calls `open`. The sender writes the
whole array for each message; the receiver gets an array or a view of it. Both sides block while they wait.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.uint8]
Side = Literal["client", "server"]
LARGEST = 10 << 20
DEPTH = 4
"""Messages of room that each way gets where one can choose."""


class Transport(ABC):
    """One connection between a client and a server. The server is a child process of the client."""

    name: str
    package: str = ""
    in_place = False
    """Whether `send_in_place` works: the payload is written where the receiver reads it."""

    @staticmethod
    def installed() -> bool:
        return True

    @abstractmethod
    def open(self, side: Side) -> None: ...

    @abstractmethod
    def send(self, array: Array) -> None: ...

    @abstractmethod
    def receive(self) -> Array: ...

    def send_in_place(self, size: int, head: bytes) -> None:
        """Send `size` bytes of which only the first few are written."""
        raise AssertionError(f"{self.name} can't write {len(head)} of {size} bytes in place")

    def release(self) -> None:  # noqa: B027  (most have nothing to give back)
        """Give back what `receive` returned last."""

    @abstractmethod
    def close(self) -> None:
        """Release everything; the client's side also removes what both shared."""
