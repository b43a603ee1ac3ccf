"""A lock and an event that agents of all workers share, by name: `state.lock("world")`, `state.event("dawn")`.

`SharedState` makes them. A lock is one of the kernel's on a byte of the state's file, so that whoever holds it when he dies
has let it go; an event is an entry of the state, which its waiters sleep for.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
import time
import zlib
from typing import TYPE_CHECKING, Final, Self

from ringline.errors import StateError

if TYPE_CHECKING:
    from ringline.agents.state import SharedState

_RANGE: Final = struct.Struct("hhqqi4x")
_BEYOND: Final = 1 << 40
"""Bytes from here on stand for names; no state file is as long, and the lock of its writers is before."""
_LOOK_S: Final = 0.002
"""Between two tries with a time limit, which the kernel's lock does not have."""
EVENT: Final = "@event/"
"""Before an event's name: its key in the state."""


class SharedLock:
    """One at a time of all threads of all processes. A context manager; not reentrant. A holder that dies lets it go.

    Two names may stand for the same byte (once in 2^32): that is one lock for both.
    """

    def __init__(self, state: SharedState, name: str) -> None:
        self._state = state
        self._name = name
        self._where = _BEYOND + zlib.crc32(name.encode())
        self._mine = threading.local()

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait until it is free (`timeout` seconds at most), and take it; whether it was taken. Raises `StateError` for a holder."""
        if getattr(self._mine, "descriptor", -1) >= 0:
            raise StateError(f"this thread holds the lock '{self._name}' already; release it first")
        descriptor = os.open(self._state.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            taken = self._taken(descriptor, timeout)
        except BaseException:
            os.close(descriptor)
            raise
        if taken:
            self._mine.descriptor = descriptor
        else:
            os.close(descriptor)
        return taken

    def release(self) -> None:
        """Let it go. Raises `StateError` if this thread does not hold it."""
        descriptor = getattr(self._mine, "descriptor", -1)
        if descriptor < 0:
            raise StateError(f"this thread does not hold the lock '{self._name}'")
        self._mine.descriptor = -1
        # An unlock, not only the end of this descriptor: a process that was forked meanwhile has it too.
        self._ask(descriptor, fcntl.F_UNLCK, wait=True)
        os.close(descriptor)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _taken(self, descriptor: int, timeout: float | None) -> bool:
        if timeout is None:
            return self._ask(descriptor, fcntl.F_WRLCK, wait=True)
        end = time.monotonic() + timeout
        while not self._ask(descriptor, fcntl.F_WRLCK, wait=False):
            if time.monotonic() >= end:
                return False
            time.sleep(_LOOK_S)
        return True

    def _ask(self, descriptor: int, kind: int, *, wait: bool) -> bool:
        try:
            wanted = _RANGE.pack(kind, os.SEEK_SET, self._where, 1, 0)
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, wanted)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True


class SharedEvent:
    """A flag that any process sets, and any waits for."""

    def __init__(self, state: SharedState, name: str) -> None:
        self._state = state
        self._key = EVENT + name

    def is_set(self) -> bool:
        """Say whether it is set; never waits."""
        return bool(self._state.get(self._key, default=False))

    def set(self) -> None:
        """Set it, and wake all who wait."""
        self._state.put(self._key, value=True)

    def clear(self) -> None:
        """Unset it."""
        self._state.put(self._key, value=False)

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until it is set, `timeout` seconds at most; whether it is."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            seen = self._state.version
            if self.is_set():
                return True
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._state.wait(seen, left)
