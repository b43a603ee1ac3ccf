"""The folder of a user's sessions comes with the first and goes with the last, whoever starts and ends at the same time."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ringline.errors import SessionError
from ringline.shm import home

MANY = """
import sys, time
from pathlib import Path
from ringline.shm import home
folder, name = Path(sys.argv[1]), sys.argv[2]
for number in range(int(sys.argv[3])):
    with home.opened(folder):
        (folder / name).mkdir()
    (folder / name / "arena").write_bytes(b"x")
    home.remove(folder / name)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / home.home_name()


def test_it_is_made_when_it_is_opened_and_private(folder: Path) -> None:
    with home.opened(folder):
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "s1").mkdir()
    home.remove(folder / "s1")
    assert not folder.exists()
    home.remove(folder / "s1")


def test_it_stays_while_there_is_another_session(folder: Path) -> None:
    with home.opened(folder):
        (folder / "s1").mkdir()
        (folder / "s2").mkdir()
    home.remove(folder / "s1")
    assert [path.name for path in folder.iterdir()] == ["s2"]


def test_a_folder_of_another_name_is_nobodys_to_remove(tmp_path: Path) -> None:
    (tmp_path / "mine" / "s1").mkdir(parents=True)
    home.remove(tmp_path / "mine" / "s1")
    assert list((tmp_path / "mine").iterdir()) == []


def test_it_is_not_removed_under_the_feet_of_a_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "_PATIENCE_S", 0.02)
    with home.opened(folder):
        home.remove_if_empty(folder)
        (folder / "s1").mkdir()
    assert (folder / "s1").exists()


def test_a_start_that_waited_for_a_folder_which_went_makes_a_new_one(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    opened = threading.Event()

    def start() -> None:
        with home.opened(folder):
            (folder / "s1").mkdir()
        opened.set()

    thread = threading.Thread(target=start)
    thread.start()
    while f"{os.fstat(descriptor).st_ino} 0 EOF" not in waiting_locks():
        pass
    folder.rmdir()
    os.close(descriptor)
    thread.join()
    assert opened.is_set()
    assert (folder / "s1").exists()


def waiting_locks() -> str:
    """What /proc/locks says of requests that wait."""
    return "\n".join(line for line in Path("/proc/locks").read_text().splitlines() if "->" in line)


def test_starts_and_ends_of_many_processes_never_meet_a_folder_that_is_gone(folder: Path) -> None:
    command = [sys.executable, "-c", MANY, str(folder)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    both = [subprocess.Popen([*command, name, "100"], env=environ) for name in ("s1", "s2")]
    assert [process.wait() for process in both] == [0, 0]
    assert not folder.exists()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_one_that_others_can_enter_is_refused(folder: Path, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(SessionError, match="not a private folder"), home.opened(folder):
        pass


def test_a_link_in_its_place_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SessionError, match="not a private folder"), home.opened(folder):
        pass
