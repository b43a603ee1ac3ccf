"""The faults of the soak. Each is done to one victim, and is over when every output flows again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.soak.graph import NODES
from benchmarks.soak.listeners import Listener
from ringline import Session

FAULTS: Final = {
    "kill": "kill -9 of a node",
    "fail": "an exception in a node's `process`",
    "pause": "SIGSTOP of a node for 1 s, then SIGCONT",
    "hang": "SIGSTOP of a node for good, until the health check has it killed and replaced",
    "slow": "a node takes 150 ms for each message, for 4 s",
    "deaf": "the application does not read an output for 4 s",
    "hoard": "the application keeps every message of an output until `LeaseQuotaError`",
    "flush": "a flush of a node and all that follows it",
}
_POLL_S: Final = 0.02
_SLOW_S: Final = 4.0


@dataclass
class Fault:
    """One fault that was done. `recovered_s`: from its end to a message at every output; None: not within the limit."""

    kind: str
    victim: str
    at_s: float
    recovered_s: float | None = None


class Faults:
    """Does one fault after the other; which, and to whom, a seed decides."""

    def __init__(
        self, session: Session, listeners: Mapping[str, Listener], kinds: list[str], seed: int, limit_s: float
    ) -> None:
        self.done: list[Fault] = []
        self.expected_crashes: dict[str, int] = dict.fromkeys(NODES, 0)
        self._session, self._listeners, self._limit_s = session, listeners, limit_s
        self._chance = random.Random(seed)
        self._order = self._deck(kinds)
        self._began = time.monotonic()
        self._do: dict[str, Callable[[str], Awaitable[None]]] = {
            "kill": self._kill,
            "fail": self._fail,
            "pause": self._pause,
            "hang": self._hang,
            "slow": self._slow,
            "deaf": self._deaf,
            "hoard": self._hoard,
            "flush": self._flush,
        }

    def _deck(self, kinds: list[str]) -> Iterator[str]:
        """Every kind once in random order, then again: none is left out by chance."""
        while True:
            yield from self._chance.sample(kinds, len(kinds))

    async def strike(self) -> Fault:
        """Do the next fault, wait until everything flows, and keep a record of it."""
        kind = next(self._order)
        victim = self._chance.choice(sorted(self._listeners) if kind in ("deaf", "hoard") else NODES)
        fault = Fault(kind, victim, round(time.monotonic() - self._began, 1))
        self.done.append(fault)
        await self._do[kind](victim)
        fault.recovered_s = await self._flowing(time.monotonic_ns())
        return fault

    async def _flowing(self, since_ns: int) -> float | None:
        """Seconds until every output has given a message that entered after `since_ns`; None if the limit passed."""
        until = time.monotonic() + self._limit_s
        while time.monotonic() < until:
            if all(listener.newest > since_ns for listener in self._listeners.values()):
                return (time.monotonic_ns() - since_ns) / 1e9
            await asyncio.sleep(_POLL_S)
        return None

    async def _pid(self, node: str) -> int:
        """Wait until the node runs: its process id."""
        while True:
            status = (await self._session.get_status()).nodes[node]
            if status.state == "running" and status.pid is not None:
                return status.pid
            await asyncio.sleep(_POLL_S)

    async def _signal(self, node: str, number: signal.Signals) -> int:
        pid = await self._pid(node)
        os.kill(pid, number)
        return pid

    async def _dead(self, node: str, pid: int) -> None:
        """Wait until another process stands in for this one, or the limit has passed."""
        until = time.monotonic() + self._limit_s
        while await self._pid(node) == pid:
            if time.monotonic() > until:
                return
            await asyncio.sleep(_POLL_S)

    async def _kill(self, node: str) -> None:
        self.expected_crashes[node] += 1
        await self._dead(node, await self._signal(node, signal.SIGKILL))

    async def _hang(self, node: str) -> None:
        self.expected_crashes[node] += 1
        await self._dead(node, await self._signal(node, signal.SIGSTOP))

    async def _fail(self, node: str) -> None:
        self.expected_crashes[node] += 1
        pid = await self._pid(node)
        await self._session.parameters(node, {"fail": True})
        await self._dead(node, pid)

    async def _pause(self, node: str) -> None:
        pid = await self._signal(node, signal.SIGSTOP)
        await asyncio.sleep(1)
        os.kill(pid, signal.SIGCONT)

    async def _slow(self, node: str) -> None:
        await self._pid(node)
        await self._session.parameters(node, {"slow_s": 0.15, "for_s": _SLOW_S})
        await asyncio.sleep(_SLOW_S)

    async def _deaf(self, output: str) -> None:
        self._listeners[output].asleep = True
        await asyncio.sleep(_SLOW_S)
        self._listeners[output].asleep = False

    async def _hoard(self, output: str) -> None:
        listener = self._listeners[output]
        listener.hoards = True
        until = time.monotonic() + self._limit_s
        while listener.hoards:
            await asyncio.sleep(_POLL_S)
            listener.hoards = listener.hoards and time.monotonic() < until

    async def _flush(self, node: str) -> None:
        await self._pid(node)
        await self._session.flush(node)
