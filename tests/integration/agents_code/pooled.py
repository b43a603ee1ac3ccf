"""Agents that the tests of pools use; each has one habit."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import threading
import time
from typing import Any


class Counter:
    """Adds up what it is told; keeps a snapshot."""

    def __init__(self, start: int = 0) -> None:
        self.total = start

    def step(self, amount: Any) -> Any:
        if amount == "pid":
            return os.getpid()
        if amount == "die":
            os._exit(9)
        self.total += amount
        return self.total

    def snapshot(self) -> int:
        return self.total

    def restore(self, state: int) -> None:
        self.total = state


class Forgetful:
    """The same without a snapshot."""

    def __init__(self) -> None:
        self.total = 0

    def step(self, amount: int) -> int:
        self.total += amount
        return self.total


class Moody:
    """Does what it is told."""

    def __init__(self, agent_id: str, state: Any, report: Any) -> None:
        self.agent_id, self.state, self.report = agent_id, state, report
        self.kept: list[bytes] = []

    def step(self, order: Any) -> Any:
        return getattr(self, order[0])(*order[1:])

    def echo(self, value: Any) -> Any:
        return [self.agent_id, value]

    def fail(self) -> None:
        raise ValueError("a bad mood")

    def unsendable(self) -> object:
        return object()

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    def hang(self) -> None:
        while True:
            time.sleep(0.01)

    def leave(self) -> None:
        os._exit(3)

    def segfault(self) -> None:
        ctypes.string_at(0)

    def leak(self) -> int:
        self.kept.append(bytes(os.urandom(1 << 20)) * 40)
        return os.getpid()

    def believe(self, key: str, value: Any) -> int:
        return int(self.state.put(key, value))

    def progress(self) -> str:
        self.report(0.5, "half way")
        time.sleep(0.5)
        return "whole"

    def exit(self, code: int) -> None:
        sys.exit(code)

    def until_cancelled(self) -> str:
        self.report(0.5, "waiting to be told")
        while not self.report.cancelled:
            time.sleep(0.005)
        return "told to stop"

    def hoard(self, mebibytes: int) -> None:
        self.kept.append(b"x" * (mebibytes << 20))
        self.hang()

    def large(self, size: int) -> str:
        return "x" * size

    def fork(self) -> int:
        return os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "600")

    def where(self) -> list[Any]:
        return [os.getpid(), threading.current_thread().name]


class Patient:
    """Waits without using a core."""

    async def step(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "waited"


class Broken:
    """Can't be made."""

    def __init__(self) -> None:
        raise RuntimeError("no such agent today")


def inference(agent_id: str, observation: Any, belief_cache: Any) -> Any:
    """What a `ProcessBasedAgentPool` runs."""
    belief_cache[agent_id] = observation
    return observation * 2


class Deadly:
    """Ends its process when it is made, or never ends being made."""

    def __init__(self, how: str) -> None:
        if how == "leave":
            os._exit(4)
        while True:
            time.sleep(0.01)


class Huge(Counter):
    """Its snapshot does not fit."""

    def snapshot(self) -> Any:
        return "x" * (64 << 20)
