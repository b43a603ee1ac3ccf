"""`SharedState`: a map that many processes read and write at once, for beliefs and for agents' snapshots.

Agents and pools use it; no manager process stands behind it. Readers never wait: they copy a version and look whether it is
still the current one. Writers take turns by a lock that the kernel drops when its holder dies, and a write is there or not
there, whenever its writer is killed.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from ringline.agents.state_file import CHANGE, DIRTY, LONGEST_KEY, NOWHERE, Extent, StateFile
from ringline.agents.state_heap import DELETED, allocate, free, rebuild, size_class
from ringline.agents.sync import SharedEvent, SharedLock
from ringline.agents.values import pack, unpack
from ringline.errors import StateError, StateFullError
from ringline.shm._core import load_word, store_word, wait_word, wake_word

DEFAULT_BYTES: Final = 16 << 20
DEFAULT_ENTRIES: Final = 1024
_TRIES: Final = 100_000
"""A reader that met as many writers in a row has met a broken file."""


class Versioned(NamedTuple):
    """A value and the version that it has; versions grow over the whole map and are never used twice."""

    value: Any
    version: int


class SharedState:
    """A bounded map from texts to JSON values and arrays. Usable from any thread; a forked child opens it again.

    Keys have at most 184 bytes. Everything raises `StateError` after `close`.
    """

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self._hints: dict[bytes, int] = {}

    @classmethod
    def create(
        cls, path: Path | str, *, size_bytes: int = DEFAULT_BYTES, max_entries: int = DEFAULT_ENTRIES
    ) -> SharedState:
        """Make a new one: room for `max_entries` keys, and `size_bytes` for the values in two versions each."""
        return cls(StateFile.create(Path(path), max_entries, size_bytes))

    @classmethod
    def open(cls, path: Path | str) -> SharedState:
        """Use one that another process has made."""
        return cls(StateFile.open(Path(path)))

    @property
    def path(self) -> Path:
        """The file, which other processes open."""
        return self._file.path

    @property
    def version(self) -> int:
        """The version of the last write of all."""
        self._file.check()
        return load_word(self._file.map, CHANGE)

    def close(self) -> None:
        """Let go of the file, which stays; idempotent."""
        self._file.close()

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, key: str) -> Versioned | None:
        """Give a key's value and version, or None. Never waits for a writer."""
        self._file.check()
        name = _name(key)
        for _ in range(_TRIES):
            slot = self._find(name)
            if slot is None:
                return None
            found = self._copy(slot, name)
            if found is not None:
                return Versioned(unpack(found[1]), found[0])
        raise StateError(f"the shared state {self._file.path.name} is damaged: '{key}' can't be read")

    def get(self, key: str, default: Any = None) -> Any:
        """Give a key's value, or `default`."""
        found = self.read(key)
        return default if found is None else found.value

    def __getitem__(self, key: str) -> Any:
        found = self.read(key)
        if found is None:
            raise KeyError(key)
        return found.value

    def __contains__(self, key: str) -> bool:
        return self.read(key) is not None

    def versions(self) -> dict[str, int]:
        """Give all keys with their versions: what changed since is what has a larger one."""
        self._file.check()
        return {key.decode(): version for key, version in self._entries()}

    def keys(self) -> list[str]:
        """List all keys."""
        return list(self.versions())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.versions())

    def wait(self, seen: int, timeout: float | None = None, *, key: str | None = None) -> int:
        """Sleep until something (or `key`) was written after version `seen`; its version, or `seen` after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            now = self.version
            found = now if key is None else self._version_of(key)
            if found > seen:
                return found
            left = 1.0 if end is None else end - time.monotonic()
            if left <= 0:
                return seen
            wait_word(self._file.map, CHANGE, now, left)

    # -- writing ---------------------------------------------------------------------------------------------------

    def put(self, key: str, value: Any) -> int:
        """Write a value; its version. Raises `StateFullError` and `DataError`, and changes nothing then."""
        version = self._write(_name(key), pack(value), None)
        assert version is not None
        return version

    def __setitem__(self, key: str, value: Any) -> None:
        self.put(key, value)

    def compare_and_set(self, key: str, value: Any, version: int) -> int | None:
        """Write a value if the key still has this version (0: if it is absent); its new version, or None."""
        return self._write(_name(key), pack(value), version)

    def update(self, key: str, change: Callable[[Any], Any], default: Any = None) -> Any:
        """Replace a value by `change(value)`, again if somebody else wrote in between; the new value."""
        while True:
            found = self.read(key) or Versioned(default, 0)
            value = change(found.value)
            if self.compare_and_set(key, value, found.version) is not None:
                return value

    def delete(self, key: str) -> bool:
        """Remove a key; False if it was absent."""
        file, name = self._file, _name(key)
        with self._turn():
            slot = self._find(name)
            word = load_word(file.map, slot) if slot is not None else 0
            if slot is None or not word or word & DELETED:
                return False
            version = load_word(file.map, CHANGE) + 1
            store_word(file.map, slot, version << 2 | DELETED)
            for side in (0, 1):
                extent = file.extent(slot, side)
                file.set_extent(slot, side, NOWHERE)
                free(file, extent.offset, extent.kind)
            self._announce(version)
        return True

    def __delitem__(self, key: str) -> None:
        if not self.delete(key):
            raise KeyError(key)

    # -- what agents do together -----------------------------------------------------------------------------------

    def lock(self, name: str) -> SharedLock:
        """Give the lock of that name: one at a time of all threads of all processes that share this state."""
        self._file.check()
        return SharedLock(self, name)

    def event(self, name: str) -> SharedEvent:
        """Give the event of that name, which is an entry of this state."""
        self._file.check()
        return SharedEvent(self, name)

    # -- inner -----------------------------------------------------------------------------------------------------

    def _turn(self) -> _Turn:
        return _Turn(self._file)

    def _announce(self, version: int) -> None:
        store_word(self._file.map, CHANGE, version)
        wake_word(self._file.map, CHANGE)

    def _write(self, name: bytes, data: bytes, expected: int | None) -> int | None:
        file = self._file
        with self._turn():
            slot = self._find(name)
            word = load_word(file.map, slot) if slot is not None else 0
            if expected is not None and expected != (0 if word & DELETED else word >> 2):
                return None
            if slot is None:
                slot = self._new_slot(name)
            side = 1 - (word & 1)
            extent = self._room(slot, side, len(data))
            file.map[extent.offset : extent.offset + len(data)] = data
            file.set_extent(slot, side, Extent(extent.offset, len(data), extent.kind, zlib.crc32(data)))
            if load_word(file.map, slot) == 0 or file.key(slot) != name:
                file.set_key(slot, name)
            version = load_word(file.map, CHANGE) + 1
            store_word(file.map, slot, version << 2 | side)  # the commit
            self._announce(version)
            self._hints[name] = slot
            return version

    def _room(self, slot: int, side: int, length: int) -> Extent:
        """Give the side an extent that is large enough; `kind` is its size."""
        file = self._file
        extent = file.extent(slot, side)
        if extent.kind >= length and extent.kind:
            return extent
        file.set_extent(slot, side, NOWHERE)
        if extent.kind:
            free(file, extent.offset, extent.kind)
        offset = allocate(file, length)
        if not offset:
            rebuild(file)  # joins neighbours that were freed apart, and frees what holds no current version
            offset = allocate(file, length)
        if not offset:
            room = file.size - file.heap
            raise StateFullError(
                f"the shared state {file.path.name} has no room for {length} bytes (size_bytes is {room}, and a value "
                "needs room for two versions); delete keys or create it with more"
            )
        return Extent(offset, 0, 1 << size_class(length), 0)

    def _new_slot(self, name: bytes) -> int:
        """Give a slot that was never used, or whose key was deleted."""
        file = self._file
        for index in self._probes(name):
            slot = file.slot(index)
            word = load_word(file.map, slot)
            if word == 0 or word & DELETED:
                file.set_extent(slot, 0, NOWHERE)
                file.set_extent(slot, 1, NOWHERE)
                return slot
        raise StateFullError(
            f"the shared state {file.path.name} has {file.slots} keys, its max_entries; delete some or create it with more"
        )

    def _probes(self, name: bytes) -> Iterator[int]:
        count = self._file.slots
        first = zlib.crc32(name) % count
        yield from range(first, count)
        yield from range(first)

    def _find(self, name: bytes) -> int | None:
        """Give the slot of a key; None if it is absent."""
        file = self._file
        hint = self._hints.get(name)
        if hint is not None and file.key(hint) == name and not load_word(file.map, hint) & DELETED:
            return hint
        for index in self._probes(name):
            slot = file.slot(index)
            word = load_word(file.map, slot)
            if word == 0:
                return None
            if file.key(slot) == name and not word & DELETED:
                self._hints[name] = slot
                return slot
        return None

    def _copy(self, slot: int, name: bytes) -> tuple[int, bytes] | None:
        """Copy what a slot holds: version and bytes; None if it changed under the copying."""
        file = self._file
        word = load_word(file.map, slot)
        if word == 0 or word & DELETED or file.key(slot) != name:
            return None
        extent = file.extent(slot, word & 1)
        data = file.map[extent.offset : extent.offset + extent.length]
        if load_word(file.map, slot) != word or zlib.crc32(data) != extent.crc:
            return None
        return word >> 2, data

    def _version_of(self, key: str) -> int:
        name = _name(key)
        slot = self._find(name)
        word = load_word(self._file.map, slot) if slot is not None else 0
        return word >> 2 if slot is not None and self._file.key(slot) == name else 0

    def _entries(self) -> Iterator[tuple[bytes, int]]:
        file = self._file
        for index in range(file.slots):
            slot = file.slot(index)
            word = load_word(file.map, slot)
            key = file.key(slot)
            if word and not word & DELETED and load_word(file.map, slot) == word:
                yield key, word >> 2


class _Turn:
    """A writer's turn. The word DIRTY is the evidence of one that did not end it: it was killed, and is repaired after."""

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self._lock = file.writing()

    def __enter__(self) -> None:
        self._lock.__enter__()
        try:
            if load_word(self._file.map, DIRTY):
                rebuild(self._file)
            store_word(self._file.map, DIRTY, 1)
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A writer that raised (no room, Ctrl-C) may have left a list half changed: the next one looks.
        if kind is None or issubclass(kind, StateFullError):
            store_word(self._file.map, DIRTY, 0)
        self._lock.__exit__(None, None, None)


def _name(key: str) -> bytes:
    if not isinstance(key, str) or not key:
        raise TypeError("a key of shared state is a text that is not empty")
    name = key.encode()
    if len(name) > LONGEST_KEY:
        raise StateFullError(f"the key '{key[:20]}…' has {len(name)} bytes, at most {LONGEST_KEY} are allowed")
    return name
