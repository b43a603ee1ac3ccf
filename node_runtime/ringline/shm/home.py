"""The folder of all session directories of a user: made when the first session starts, removed with the last one.

Called by the host, and by a zygote whose host has died. Who makes or removes something in it holds the folder's lock, so that
no start finds the folder gone under its feet.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ringline.errors import SessionError

_PATIENCE_S: Final = 1.0
"""With somebody who holds the lock of an empty folder: an empty folder that stays does no harm."""


def home_name() -> str:
    """Name this user's folder inside /dev/shm or its substitute."""
    return f"ringline-{os.getuid()}"


def check_private(folder: Path, found: os.stat_result) -> None:
    """Raise `SessionError` unless it is a directory of this user that nobody else can enter."""
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SessionError(f"{folder} is not a private folder of this user (mode 0700); remove it or correct its mode")


@contextlib.contextmanager
def opened(folder: Path, *, private: bool = True) -> Iterator[None]:
    """Hold the lock of the folder, which is made with mode 0700 if it is missing; waits for others that hold it.

    Raises `SessionError` for a folder that is not `private`, if it must be.
    """
    held = False
    while not held:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if private:
            with contextlib.suppress(FileNotFoundError):
                check_private(folder, folder.lstat())
        with _lock(folder, fcntl.LOCK_EX) as held:
            if held:  # else its last session took it along just now
                yield


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that is there; waits for others that hold it. For one that is missing there is nothing to hold."""
    with _lock(folder, fcntl.LOCK_EX):
        yield


def remove(directory: Path) -> None:
    """Remove a session's directory with all that is in it, and the user's folder if that was its last. Idempotent."""
    shutil.rmtree(directory, ignore_errors=True)
    remove_if_empty(directory.parent)


def remove_if_empty(folder: Path) -> None:
    """Remove the user's folder if no session is in it and none is being started there."""
    deadline = time.monotonic() + _PATIENCE_S
    with contextlib.suppress(OSError):  # it is not empty, or gone: the kernel says so
        while folder.name == home_name() and not any(folder.iterdir()) and time.monotonic() < deadline:
            try:
                with _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB) as held:
                    if held:
                        folder.rmdir()
                    return
            except BlockingIOError:
                time.sleep(0.001)  # another end does the same, or a start is about to put something in


@contextlib.contextmanager
def _lock(folder: Path, how: int) -> Iterator[bool]:
    """Lock the folder itself (flock also works between two threads of one process); False if it was removed before that."""
    descriptor = _open(folder)
    try:
        if descriptor is not None:
            fcntl.flock(descriptor, how)
        yield descriptor is not None and _is(folder, os.fstat(descriptor))
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open(folder: Path) -> int | None:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None


def _is(folder: Path, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(folder.lstat(), found)
    except FileNotFoundError:
        return False
