"""A writer of shared state that is killed at every line it executes, one after the other; run by `test_state.py` as a script.

It forks a child per line: the child makes one change and dies by SIGKILL before the n-th line; the parent then checks that the
change is there or not there, that the other keys are whole, and that the next writer can go on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from ringline.agents.state import SharedState

CHANGES: dict[str, Callable[[SharedState], object]] = {
    "grow": lambda state: state.put("b", "new" * 400),
    "insert": lambda state: state.put("d", "new"),
    "reinsert": lambda state: (state.delete("b"), state.put("b", "new")),
}
BEFORE = {"a": list(range(50)), "b": "old", "c": {"x": 1.5}}
ALLOWED: dict[str, dict[str, list[Any]]] = {
    "grow": {"b": ["old", "new" * 400]},
    "insert": {"d": [None, "new"]},
    "reinsert": {"b": ["old", None, "new"]},
}


def killed_at(line: int) -> Callable[[FrameType, str, Any], Any]:
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if "agents/state" not in frame.f_code.co_filename:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def child(path: str, change: str, line: int) -> None:
    state = SharedState.open(path)
    sys.settrace(killed_at(line))
    CHANGES[change](state)
    sys.settrace(None)
    os._exit(0)


def main(path: str, change: str) -> None:
    state = SharedState.create(path, size_bytes=16384, max_entries=8)
    died, line = True, 0
    while died:
        line += 1
        for key, value in BEFORE.items():
            state.put(key, value)
        state.delete("d")
        version = state.version
        pid = os.fork()
        if pid == 0:
            child(path, change, line)
        died = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        expected = {key: [value] for key, value in BEFORE.items()} | ALLOWED[change]
        for key, values in expected.items():
            assert state.get(key) in values, (change, line, key, state.get(key))
        assert state.put("after", line) > version
        assert state["after"] == line
        state.delete("after")
    print(line - 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
