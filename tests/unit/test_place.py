"""Runs of the tests side by side, and after one that was killed, do not meet in /dev/shm."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.helpers.place import STALE_S, locked, place, sweep


def left(parent: Path, name: str) -> Path:
    """A folder that has been there for long."""
    folder = parent / name
    (folder / "ringline-0").mkdir(parents=True)
    os.utime(folder, (0, 0))
    return folder


def test_a_place_is_private_short_and_gone_afterwards(tmp_path: Path) -> None:
    with place(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(folder.name) < 12
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    left(tmp_path, "rltabc")
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_held_is_young_or_of_another_name_stays(tmp_path: Path) -> None:
    held, _ = left(tmp_path, "rltheld"), left(tmp_path, "mine")
    (tmp_path / "rltyoung").mkdir()
    with locked(held):
        sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"rltheld", "mine", "rltyoung"}


def test_a_place_that_is_used_for_long_is_not_swept_by_another_run(tmp_path: Path) -> None:
    with place(tmp_path) as folder:
        os.utime(folder, (0, 0))
        assert folder.stat().st_mtime < STALE_S
        with place(tmp_path):
            assert folder.exists()


def test_a_folder_that_another_sweep_takes_meanwhile_is_none_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = left(tmp_path, "rlta"), left(tmp_path, "rltb")
    take = shutil.rmtree

    def both(folder: Path, ignore_errors: bool = False) -> None:
        for path in (first, second):
            take(path, ignore_errors=True)
        take(folder, ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", both)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
