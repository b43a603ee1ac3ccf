"""Claiming, refusing and reclaiming a session's directory, with locks taken by other processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringline.errors import ResourceLimitError, SessionError, SessionExistsError, SettingsError
from ringline.host import directory as directories

HOLDER = """
import sys, time
from pathlib import Path
from ringline.shm import locks
hold = locks.LockHold(Path(sys.argv[1]), locks.HOST_BYTE)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = directories.base_directory({"RINGLINE_SHM_DIR": str(tmp_path)})
    folder.mkdir(mode=0o700)
    return folder


def test_asking_for_the_folder_makes_none(tmp_path: Path) -> None:
    directories.base_directory({"RINGLINE_SHM_DIR": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path, home: Path) -> None:
    assert home == directories.base_directory({"RINGLINE_SHM_DIR": str(tmp_path)})
    home.chmod(0o755)
    with pytest.raises(SessionError, match="not a private folder"):
        directories.base_directory({"RINGLINE_SHM_DIR": str(tmp_path)})


def test_a_symbolic_link_in_its_place_is_refused(tmp_path: Path, home: Path) -> None:
    target = tmp_path / "elsewhere"
    home.rename(target)
    home.symlink_to(target)
    with pytest.raises(SessionError, match="not a private folder"):
        directories.base_directory({"RINGLINE_SHM_DIR": str(tmp_path)})


def test_a_base_that_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match="RINGLINE_SHM_DIR"):
        directories.base_directory({"RINGLINE_SHM_DIR": "/nowhere"})


@pytest.mark.parametrize("bad", ["", "..", "a/b", "x" * 64, "naïve"])
def test_bad_ids_have_no_directory(bad: str, tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="session id"):
        directories.directory_of(bad, {"RINGLINE_SHM_DIR": str(tmp_path)})


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    with pytest.raises(SettingsError, match="too long for a socket"):
        directories.directory_of("s" * 40, {"RINGLINE_SHM_DIR": str(deep)})


def test_a_claimed_directory_is_private_and_goes_at_release(home: Path) -> None:
    made = directories.claim(home / "s1", lambda where: (where / "arena").write_text("x") and where)
    assert made == home / "s1"
    assert (home / "s1").stat().st_mode & 0o777 == 0o700
    directories.release(home / "s1")
    directories.release(home / "s1")
    assert not home.exists()


def test_what_fails_while_it_is_made_leaves_nothing(home: Path) -> None:
    def fails(where: Path) -> None:
        (where / "half").touch()
        raise OSError("no space")

    for _ in range(2):
        with pytest.raises(OSError, match="no space"):
            directories.claim(home / "s1", fails)
        assert not home.exists()


def test_two_claims_in_one_process_never_share(home: Path) -> None:
    outcomes: list[str] = []
    barrier = threading.Barrier(4)

    def claim() -> None:
        barrier.wait()
        try:
            directories.claim(home / "s1", lambda _: None)
            outcomes.append("mine")
        except SessionExistsError:
            outcomes.append("refused")

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["mine", "refused", "refused", "refused"]
    directories.release(home / "s1")


def test_leftovers_without_a_living_owner_are_replaced(home: Path) -> None:
    for leftovers in ([], ["arena"], ["arena", "locks"]):
        home.mkdir(mode=0o700, exist_ok=True)
        (home / "s1").mkdir()
        for name in leftovers:
            (home / "s1" / name).write_bytes(bytes(64))
        directories.claim(home / "s1", lambda where: (where / "new").touch())
        assert [path.name for path in (home / "s1").iterdir()] == ["new"]
        directories.release(home / "s1")


@pytest.fixture
def holder(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the host's lock of session s1."""
    (home / "s1").mkdir()
    (home / "s1" / "locks").write_bytes(bytes(64))
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(home / "s1")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_live_owner_is_never_robbed_and_a_dead_one_is(home: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(SessionExistsError, match="session 's1' is alive"):
        directories.claim(home / "s1", lambda _: None)
    assert (home / "s1" / "locks").exists()
    holder.kill()
    holder.wait()
    directories.claim(home / "s1", lambda _: None)
    directories.release(home / "s1")


def test_space_is_checked_against_what_is_free(tmp_path: Path) -> None:
    directories.check_space(tmp_path, 1)
    with pytest.raises(ResourceLimitError, match=r"bytes free but the session's shared memory needs"):
        directories.check_space(tmp_path, 1 << 60)
