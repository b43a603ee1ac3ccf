"""Which process holds which byte of a session's lock file, told by /proc/locks: how `ringline top` finds process ids.

The lock file itself is never opened: closing it again would drop the locks of a process that holds some.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ringline.names import LOCK_FILE

PROC_LOCKS: Final = Path("/proc/locks")


def lock_holders(directory: Path, proc_locks: Path = PROC_LOCKS) -> dict[int, int]:
    """Return byte → process id for a session directory; a node's byte is its place in the arena.

    Empty where /proc/locks can't be read. Process ids are those of the reader's own namespace.
    """
    try:
        found = (directory / LOCK_FILE).stat()
        text = proc_locks.read_text()
    except OSError:
        return {}
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    return dict(_of_file(text, file))


def _of_file(text: str, file: str) -> Iterator[tuple[int, int]]:
    for line in text.splitlines():
        # Such as: 1: POSIX  ADVISORY  WRITE 3006 00:1b:11194 3 3; one that waits has an arrow after its number.
        fields = line.split()
        if len(fields) == 8 and fields[1] == "POSIX" and fields[5] == file and fields[6] == fields[7]:
            yield int(fields[6]), int(fields[4])
