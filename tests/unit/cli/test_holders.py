"""Process ids from the kernel's list of locks."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from ringline.cli.holders import lock_holders


def test_locks_of_this_very_file_are_found_by_byte(tmp_path: Path) -> None:
    with (tmp_path / "locks").open("wb") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 3)
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 64)
        assert lock_holders(tmp_path) == {3: os.getpid(), 64: os.getpid()}
        fcntl.lockf(file, fcntl.LOCK_UN, 1, 3)
        assert lock_holders(tmp_path) == {64: os.getpid()}
    assert lock_holders(tmp_path) == {}


def test_other_files_other_kinds_and_waiters_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "locks").touch()
    found = (tmp_path / "locks").stat()
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    listing = tmp_path / "listing"
    listing.write_text(
        f"1: POSIX  ADVISORY  WRITE 10 {file} 0 0\n"
        f"1: -> POSIX  ADVISORY  WRITE 11 {file} 0 0\n"
        f"2: FLOCK  ADVISORY  WRITE 12 {file} 0 EOF\n"
        f"3: POSIX  ADVISORY  WRITE 13 {file} 0 EOF\n"
        f"4: POSIX  ADVISORY  WRITE 14 {file}1 2 2\n"
        "nonsense\n"
    )
    assert lock_holders(tmp_path, listing) == {0: 10}


@pytest.mark.parametrize("missing", ["locks", "listing"])
def test_what_cannot_be_read_tells_nothing(tmp_path: Path, missing: str) -> None:
    for name in {"locks", "listing"} - {missing}:
        (tmp_path / name).touch()
    assert lock_holders(tmp_path, tmp_path / "listing") == {}
