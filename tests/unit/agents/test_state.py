"""Shared state: versions, bounds, many writers, readers that never wait, and writers that die at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ringline.agents.state import SharedState, Versioned
from ringline.errors import DataError, ResourceLimitError, StateError, StateFullError

HERE = Path(__file__).parent
WRITER = """
import sys
from ringline.agents.state import SharedState
state = SharedState.open(sys.argv[1])
for number in range(int(sys.argv[2])):
    state.update("sum", lambda total: total + 1, 0)
    state.put(sys.argv[3], [number] * (number % 40))
"""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SharedState]:
    made = SharedState.create(tmp_path / "state", size_bytes=1 << 18, max_entries=64)
    yield made
    made.close()


def python(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_values_are_json_or_arrays_and_have_versions(state: SharedState) -> None:
    first = state.put("belief", {"mean": np.arange(3.0), "seen": [1, "x"]})
    found = state.read("belief")
    assert found is not None
    assert found.version == first == state.version
    assert found.value["mean"].tolist() == [0, 1, 2]
    assert found.value["seen"] == [1, "x"]
    state["belief"] = 5
    assert state.read("belief") == Versioned(5, first + 1)
    assert (state["belief"], "belief" in state, len(state), list(state)) == (5, True, 1, ["belief"])


def test_what_is_absent_is_none_a_default_or_a_key_error(state: SharedState) -> None:
    assert (state.read("x"), state.get("x", 7), "x" in state, state.delete("x")) == (None, 7, False, False)
    with pytest.raises(KeyError):
        state["x"]
    with pytest.raises(KeyError):
        del state["x"]


def test_compare_and_set_takes_only_the_version_that_was_seen(state: SharedState) -> None:
    version = state.compare_and_set("x", 1, 0)
    assert version == 1
    assert state.compare_and_set("x", 2, 0) is None
    assert state.compare_and_set("x", 2, 7) is None
    assert state.compare_and_set("x", 2, version) == 2
    del state["x"]
    assert state.compare_and_set("x", 3, 2) is None  # it is another x now
    assert state.compare_and_set("x", 3, 0) == 4
    assert state.update("x", lambda value: value + 1) == 4


def test_two_openings_see_each_other_also_when_a_key_moves(state: SharedState) -> None:
    other = SharedState.open(state.path)
    state["a"] = 1
    assert other["a"] == 1
    del state["a"]
    assert other.get("a") is None
    other["b"] = 2
    state["a"] = 3
    assert (other["a"], state["b"], other.versions()) == (3, 2, {"a": 4, "b": 3})
    other.close()


def test_bounds_are_errors_that_name_them_and_change_nothing(state: SharedState) -> None:
    state["kept"] = "here"
    with pytest.raises(StateFullError, match=r"no room for \d+ bytes \(size_bytes is 262144"):
        state["kept"] = np.zeros(1 << 20, dtype=np.uint8)
    for number in range(63):
        state[f"k{number}"] = number
    with pytest.raises(StateFullError, match="has 64 keys, its max_entries"):
        state["one more"] = 1
    with pytest.raises(StateFullError, match="at most 184"):
        state["k" * 200] = 1
    with pytest.raises(DataError):
        state["kept"] = object()
    with pytest.raises(TypeError):
        state.put("", 1)
    assert (state["kept"], state["k62"], len(state)) == ("here", 62, 64)
    del state["k5"]
    state["one more"] = 1


def test_room_is_found_again_whatever_sizes_come_and_go(state: SharedState) -> None:
    for turn in range(300):
        state[f"k{turn % 7}"] = "x" * (turn * 97 % 9000)
    assert [len(state[f"k{number}"]) for number in range(7)] == [
        turn * 97 % 9000 for turn in (294, 295, 296, 297, 298, 299, 293)
    ]


class LikeADict(RuleBasedStateMachine):
    """Whatever is done, it holds what a dict would hold."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(f"/dev/shm/rl-state-{os.getpid()}")
        self.path.unlink(missing_ok=True)
        self.state = SharedState.create(self.path, size_bytes=1 << 15, max_entries=6)
        self.other = SharedState.open(self.path)
        self.model: dict[str, Any] = {}

    @rule(key=st.sampled_from("abcdefgh"), size=st.integers(0, 12000), first=st.booleans())
    def put(self, key: str, size: int, first: bool) -> None:
        try:
            (self.state if first else self.other).put(key, "v" * size)
            self.model[key] = "v" * size
        except StateFullError:
            assert size > 500 or len(self.model) == 6

    @rule(key=st.sampled_from("abcdefgh"))
    def delete(self, key: str) -> None:
        assert self.other.delete(key) == (self.model.pop(key, None) is not None)

    @invariant()
    def equal(self) -> None:
        assert {key: self.state[key] for key in self.state} == self.model
        assert all(self.other.get(key) == self.model.get(key) for key in "abcdefgh")

    def teardown(self) -> None:
        self.state.close()
        self.other.close()
        self.path.unlink()


def test_it_behaves_like_a_dict() -> None:
    run_state_machine_as_test(LikeADict, settings=settings(max_examples=15, stateful_step_count=25, deadline=None))


def test_processes_that_write_at_once_lose_nothing_while_readers_go_on(state: SharedState) -> None:
    writers = [python("-c", WRITER, str(state.path), "400", f"own{number}") for number in range(3)]
    seen = 0
    while any(writer.poll() is None for writer in writers):
        total = state.get("sum", 0)
        assert total >= seen
        seen = total
        row = state.get("own1", [])
        assert row == [len(row) + 40 * (row[0] // 40)] * len(row) if row else True
    assert [writer.communicate()[1] for writer in writers] == ["", "", ""]
    assert state["sum"] == 1200


def test_threads_share_one_object(state: SharedState) -> None:
    def add() -> None:
        for _ in range(200):
            state.update("sum", lambda total: total + 1, 0)

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state["sum"] == 600


def test_a_waiter_is_told_of_a_change(state: SharedState) -> None:
    seen = state.put("a", 1)
    assert state.wait(seen, 0.01) == seen
    writer = python("-c", WRITER, str(state.path), "1", "own")
    assert state.wait(seen, 60, key="own") > seen
    assert state["own"] == []
    assert state.wait(0, 60) == state.version
    writer.communicate()


@pytest.mark.parametrize("change", ["grow", "insert", "reinsert"])
def test_a_writer_may_be_killed_at_every_line(tmp_path: Path, change: str) -> None:
    victim = python(str(HERE / "state_victim.py"), str(tmp_path / "state"), change)
    out, err = victim.communicate()
    assert err == ""
    assert int(out) > 30  # lines at which it died


def test_a_forked_child_and_a_closed_one_are_refused(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom ringline.agents.state import SharedState\n"
        f"s = SharedState.create({str(tmp_path / 'f')!r}, size_bytes=4096, max_entries=4)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n    try:\n        s.put('a', 1)\n    except Exception as e:\n        print(e, flush=True)\n    os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
    )
    out, err = python("-c", code).communicate()
    assert ("is closed" in out or "after a fork" in out, err) == (True, "")
    closed = SharedState.create(tmp_path / "closed", size_bytes=4096, max_entries=4)
    closed.close()
    closed.close()
    with pytest.raises(StateError, match="is closed"):
        closed.get("a")
    with pytest.raises(StateError, match="is closed"):
        closed["a"] = 1


def test_what_is_no_state_file_is_refused(tmp_path: Path, state: SharedState) -> None:
    with pytest.raises(StateError, match="can't be opened"):
        SharedState.open(tmp_path / "none")
    (tmp_path / "text").write_bytes(b"RLSTATE1" + b"\xff" * 100)
    with pytest.raises(StateError, match="no state file"):
        SharedState.open(tmp_path / "text")
    with pytest.raises(StateError, match="can't be made"):
        SharedState.create(state.path)
    with pytest.raises(ResourceLimitError, match="lower size_bytes"):
        SharedState.create("/dev/shm/rl-too-large", size_bytes=1 << 50)


def test_a_damaged_value_is_an_error_and_not_for_ever(state: SharedState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringline.agents.state._TRIES", 10)
    state["a"] = "x" * 1000
    data = bytearray(state.path.read_bytes())
    at = data.index(b"x" * 500)
    with state.path.open("r+b") as file:
        file.seek(at)
        file.write(b"y")
    with pytest.raises(StateError, match="damaged"):
        state["a"]
    state["a"] = "whole"
    assert state["a"] == "whole"
