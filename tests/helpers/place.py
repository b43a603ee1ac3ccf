"""The folders in /dev/shm that runs of the tests have for their shared memory, and the end of those that a killed run left.

Whose a folder is says a lock and not a process id: runs in several containers may share /dev/shm and do not see each other's
processes, and several workers of one run sweep at the same time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

STALE_S = 60.0
"""A folder that nobody has locked for so long was left by a run that was killed."""


@contextlib.contextmanager
def place(parent: Path) -> Iterator[Path]:
    """Sweep, and have a folder while the block runs. Its name is short because a Unix socket's path may have 107 bytes."""
    sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix="rlt", dir=parent))
    try:
        with locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove what killed runs have left."""
    for folder in parent.glob("rlt*"):
        # It is somebody's, or another sweep was quicker.
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > STALE_S:
                with locked(folder):
                    shutil.rmtree(folder)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; BlockingIOError if somebody else does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
