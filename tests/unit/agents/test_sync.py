"""Locks and events that threads and processes share by name."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringline.agents.state import SharedState
from ringline.errors import StateError

HOLDER = """
import os, sys
from ringline.agents.state import SharedState
state = SharedState.open(sys.argv[1])
state.lock("world").acquire()
state["held"] = True
state.event("go").wait()
if sys.argv[2] == "die":
    os._exit(9)
state["order"] = state.get("order", []) + ["other"]
"""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SharedState]:
    made = SharedState.create(tmp_path / "state", size_bytes=1 << 16, max_entries=16)
    yield made
    made.close()


def holder(state: SharedState, how: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(state.path), how])
    while not state.get("held"):
        state.wait(state.version, 0.05)
    return process


def test_a_lock_is_held_by_one_thread_at_a_time(state: SharedState) -> None:
    counted = {"now": 0, "most": 0, "all": 0}

    def work() -> None:
        for _ in range(50):
            with state.lock("world"):
                counted["now"] += 1
                counted["most"] = max(counted["most"], counted["now"])
                counted["all"] += 1
                counted["now"] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted == {"now": 0, "most": 1, "all": 200}


@pytest.mark.parametrize("how", ["die", "end"])
def test_a_lock_of_another_process_is_free_when_that_is_gone(state: SharedState, how: str) -> None:
    process = holder(state, how)
    lock = state.lock("world")
    assert not lock.acquire(0)
    assert not lock.acquire(timeout=0.01)
    with state.lock("another"):
        pass
    state.event("go").set()
    assert lock.acquire()
    process.wait()
    assert state.get("order") == (None if how == "die" else ["other"])
    lock.release()
    with state.lock("world"):
        pass


def test_a_lock_is_released_by_its_holder_only_and_taken_once(state: SharedState) -> None:
    lock = state.lock("world")
    with pytest.raises(StateError, match="does not hold the lock 'world'"):
        lock.release()
    with lock:
        with pytest.raises(StateError, match="holds the lock 'world' already"):
            lock.acquire()
        assert not state.lock("world").acquire(0)
    again = state.lock("world")
    assert again.acquire(0)
    again.release()


def test_the_state_is_written_while_a_lock_is_held(state: SharedState) -> None:
    with state.lock("world"):
        writer = threading.Thread(target=state.put, args=("a", 1))
        writer.start()
        writer.join()
    assert state["a"] == 1


def test_an_event_is_set_seen_and_cleared(state: SharedState) -> None:
    dawn = state.event("dawn")
    assert not dawn.is_set()
    assert not dawn.wait(0)
    assert not dawn.wait(0.01)
    woken: list[bool] = []
    waiting = threading.Thread(target=lambda: woken.append(state.event("dawn").wait()))
    waiting.start()
    state["noise"] = 1  # wakes nobody for good
    dawn.set()
    waiting.join()
    assert (woken, dawn.is_set(), dawn.wait(0)) == ([True], True, True)
    dawn.clear()
    assert not dawn.is_set()


def test_a_closed_state_has_neither(tmp_path: Path) -> None:
    state = SharedState.create(tmp_path / "closed", size_bytes=4096, max_entries=4)
    state.close()
    for make in (state.lock, state.event):
        with pytest.raises(StateError, match="is closed"):
            make("x")
