"""Who holds a session directory: questions and locks that need no arena.

Called when a session starts (is the directory's host alive, is its zygote still cleaning up?) and by the zygote. Never
open the lock file by other means: closing any descriptor of it drops this process's locks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ringline.errors import ArenaError
from ringline.shm import _core

HOST_BYTE: Final = _core.HOST_BYTE
ZYGOTE_BYTE: Final = _core.ZYGOTE_BYTE


class LockHold:
    """A lock that is held until `release()`, or until this object or process is gone."""

    def __init__(self, directory: Path, byte: int) -> None:
        """Raise `ArenaError` when a live process holds it."""
        self._hold: object | None = _core.hold_lock(os.fspath(directory), byte)
        if self._hold is None:
            raise ArenaError(f"byte {byte} of the lock file in {directory} is held by a live process")

    def release(self) -> None:
        """Drop the lock. May be repeated."""
        self._hold = None


def host_alive(directory: Path) -> bool:
    """Whether a live process (this one included) is the host of the session in `directory`."""
    return _core.probe_lock(os.fspath(directory), HOST_BYTE)


def zygote_alive(directory: Path) -> bool:
    """Whether the session's zygote still runs, perhaps cleaning up after a dead host."""
    return _core.probe_lock(os.fspath(directory), ZYGOTE_BYTE)


def hold_zygote_lock(directory: Path) -> LockHold:
    """Taken by the zygote for its life. Raises `ArenaError` when another one has it."""
    return LockHold(directory, ZYGOTE_BYTE)
