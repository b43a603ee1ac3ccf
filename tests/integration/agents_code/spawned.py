"""Agents that the tests of handles spawn; each has one habit."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np


class Echo:
    """Gives its inputs back, with what it was made of."""

    def __init__(self, greeting: str = "hello") -> None:
        self.greeting = greeting

    def run(self, inputs: Any) -> Any:
        return {"greeting": self.greeting, "inputs": inputs, "pid": os.getpid()}


def counting(inputs: dict[str, int]) -> Iterator[int]:
    yield from range(inputs["upto"])


async def awaited(inputs: dict[str, int]) -> AsyncIterator[int]:
    for each in range(inputs["upto"]):
        yield each


def doubled(inputs: dict[str, Any]) -> Any:
    return np.asarray(inputs["values"]) * 2


def raising(inputs: Any) -> Any:
    raise ValueError(f"no {inputs}")


def unsendable(inputs: Any) -> Any:
    return object()


def flooding(inputs: dict[str, int]) -> int:
    for _ in range(inputs["lines"]):
        sys.stderr.write("x" * 1000 + "\n")
    sys.stderr.write("the last line\n")
    return inputs["lines"]


def native(inputs: dict[str, float]) -> str:
    """Sleeps in C with the GIL released."""
    ctypes.CDLL(None).usleep(int(inputs["seconds"] * 1e6))
    return "slept"


def hogging(inputs: dict[str, str]) -> str:
    """Holds the GIL until there is a file: functions of a PyDLL keep it, and nothing between them gives it up."""
    library, path = ctypes.PyDLL(None), inputs["until"].encode()
    before = sys.getswitchinterval()
    sys.setswitchinterval(3600)
    while library.access(path, 0) != 0:
        library.usleep(1000)
    sys.setswitchinterval(before)
    return "slept"


def stubborn(inputs: Any) -> None:
    """Neither returns nor listens to SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("stubborn now", flush=True)
    while True:
        time.sleep(0.05)


def leaving(inputs: dict[str, int]) -> None:
    os._exit(inputs["code"])


def with_child(inputs: Any) -> int:
    """Starts a process of its own and gives its number."""
    return subprocess.Popen(["sleep", "600"]).pid


def environment(inputs: list[str]) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in inputs}
