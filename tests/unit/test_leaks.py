"""The guard of conftest would notice what it is there to notice."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.helpers.leaks import Snapshot


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ringline-0").mkdir()
    return tmp_path


def test_a_quiet_test_leaves_nothing(root: Path) -> None:
    assert Snapshot.take(root).beyond(Snapshot.take(root)) == []


def test_a_child_process_is_noticed_and_can_be_ended(root: Path) -> None:
    before = Snapshot.take(root)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        [left] = Snapshot.take(root).beyond(before)
        assert left.startswith(f"process {child.pid}")
        Snapshot.take(root).end_children(before)
    assert Snapshot.take(root).beyond(before) == []


def test_a_thread_is_noticed(root: Path) -> None:
    before, over = Snapshot.take(root), threading.Event()
    thread = threading.Thread(target=over.wait, name="left-alone")
    thread.start()
    assert Snapshot.take(root).beyond(before) == ["thread left-alone"]
    over.set()
    thread.join()


def test_an_open_socket_is_noticed_and_a_forgotten_one_is_not(root: Path) -> None:
    before = Snapshot.take(root)
    with socket.socket():
        assert Snapshot.take(root).beyond(before) == ["1 sockets"]
    assert Snapshot.take(root).beyond(before) == []


def test_a_session_directory_is_noticed_but_not_the_users_folder(root: Path) -> None:
    before = Snapshot.take(root)
    (root / "ringline-1").mkdir()
    assert Snapshot.take(root).beyond(before) == []
    (root / "ringline-0" / "session").mkdir()
    assert Snapshot.take(root).beyond(before) == ["shared memory ringline-0/session"]
