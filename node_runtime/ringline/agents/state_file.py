"""The file behind `SharedState`: where its words, slots and values lie, and whose turn it is to write.

`SharedState` alone uses it. Offsets are in bytes; integers are little-endian. Each slot describes a key and two extents, of
which the word's lowest bit says which one is current; a write goes to the other one, and storing the word is the commit.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import struct
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ringline.errors import ResourceLimitError, StateError

MAGIC: Final = b"RLSTATE1"
HEADER_BYTES: Final = 4096
SLOT_BYTES: Final = 256
CHANGE: Final = 64
"""Word: the version of the last write; also the futex of who waits."""
DIRTY: Final = 128
"""Word: not 0 while somebody writes. Found so by who got the lock: that writer has died."""
TOP: Final = 136
"""Word: where the part of the heap begins that was never used."""
FREE: Final = 192
"""Words: the first free extent of each class."""
LONGEST_KEY: Final = 184
SMALLEST: Final = 6
LARGEST: Final = 30
"""Classes of extents: 2 ** class bytes."""
_HEAD: Final = struct.Struct("<8sQQ")
_SIDES: Final = (8, 32)
_SIDE: Final = struct.Struct("<QIII")
_KEY: Final = 64
_KEY_LENGTH: Final = 56
_LOCK: Final = struct.Struct("hhqqi4x")

_open: weakref.WeakSet[StateFile] = weakref.WeakSet()


class Extent(NamedTuple):
    """Where one version of a value lies. `kind` 0: nowhere."""

    offset: int
    length: int
    kind: int
    crc: int


NOWHERE: Final = Extent(0, 0, 0, 0)


class StateFile:
    """A mapped state file. Knows the layout, not the protocol."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._pid = os.getpid()
        self._threads = threading.Lock()
        size = os.fstat(descriptor).st_size
        self.map = mmap.mmap(descriptor, size)
        # The map keeps a copy of its descriptor, also in a forked child; the lock must not be that open file's.
        self._descriptor = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)
        os.close(descriptor)
        _, self.slots, self.size = _HEAD.unpack_from(self.map)
        self.heap = HEADER_BYTES + self.slots * SLOT_BYTES
        _open.add(self)

    @classmethod
    def create(cls, path: Path, slots: int, heap_bytes: int) -> StateFile:
        """Make the file with all its pages. Raises `StateError` if it exists, `ResourceLimitError` if there is no room."""
        size = HEADER_BYTES + slots * SLOT_BYTES + heap_bytes
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StateError(error.errno, f"the state file {path} can't be made: {error.strerror}") from None
        try:
            os.posix_fallocate(descriptor, 0, size)
            os.pwrite(descriptor, _HEAD.pack(MAGIC, slots, size), 0)
        except OSError as error:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            text = f"the state file {path} needs {size} bytes: {error.strerror}; lower size_bytes or free some"
            raise ResourceLimitError(text) from None
        return cls(path, descriptor)

    @classmethod
    def open(cls, path: Path) -> StateFile:
        """Map a file that exists. Raises `StateError` for what is no state file of this user and version."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise StateError(error.errno, f"the state file {path} can't be opened: {error.strerror}") from None
        found = os.fstat(descriptor)
        head = os.pread(descriptor, _HEAD.size, 0)
        good = len(head) == _HEAD.size and found.st_uid == os.getuid()
        if good:
            magic, slots, size = _HEAD.unpack(head)
            good = magic == MAGIC and size == found.st_size and 0 < slots <= (size - HEADER_BYTES) // SLOT_BYTES
        if not good:
            os.close(descriptor)
            raise StateError(f"{path} is no state file of this user and of this version of Ringline")
        return cls(path, descriptor)

    def close(self) -> None:
        """Unmap; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            with contextlib.suppress(BufferError):  # a thread still waits: the mapping goes with it
                self.map.close()

    def check(self) -> None:
        """Raise `StateError` if this object can't be used (any more, or in this process)."""
        if self._descriptor < 0:
            raise StateError(f"the shared state {self.path.name} is closed")
        if os.getpid() != self._pid:
            raise StateError(
                f"the shared state {self.path.name} belongs to another process; open it again after a fork"
            )

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only writer. The kernel drops the lock of a process that dies."""
        self.check()
        with self._threads:
            self.check()
            _lock(self._descriptor, fcntl.F_WRLCK)
            try:
                yield
            finally:
                _lock(self._descriptor, fcntl.F_UNLCK)

    def slot(self, index: int) -> int:
        """Where a slot begins; its first word says which version it holds."""
        return HEADER_BYTES + index * SLOT_BYTES

    def key(self, slot: int) -> bytes:
        """Give the key of a slot that was used."""
        length = min(self.map[slot + _KEY_LENGTH], LONGEST_KEY)
        return self.map[slot + _KEY : slot + _KEY + length]

    def set_key(self, slot: int, key: bytes) -> None:
        """Give a slot, which nobody reads yet, its key."""
        self.map[slot + _KEY : slot + _KEY + len(key)] = key
        self.map[slot + _KEY_LENGTH] = len(key)

    def extent(self, slot: int, side: int) -> Extent:
        """Give one of a slot's two extents, as it is described now."""
        return Extent(*_SIDE.unpack_from(self.map, slot + _SIDES[side]))

    def set_extent(self, slot: int, side: int, extent: Extent) -> None:
        """Describe one of a slot's two extents, not the current one."""
        _SIDE.pack_into(self.map, slot + _SIDES[side], *extent)

    def forget(self) -> None:
        """Close what a forked child has inherited: the lock must end with its owner."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _lock(descriptor: int, kind: int) -> None:
    # Of the open file, not of the process: two objects of one process exclude each other too.
    while True:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW, _LOCK.pack(kind, os.SEEK_SET, 0, 1, 0))
            return
        except OSError as error:
            if error.errno != errno.EINTR:
                raise


def _forget() -> None:
    for each in list(_open):
        each.forget()


os.register_at_fork(after_in_child=_forget)
