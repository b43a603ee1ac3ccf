"""The soak's application: reads every output, checks each message, and misbehaves when a fault asks it to."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field

from benchmarks.rows import percentile
from benchmarks.soak.nodes import Oracle
from ringline import EndOfStream, LeaseQuotaError, RuntimeData, Session

PATIENCE_S = 0.5
"""A listener looks at its orders this often when nothing comes."""
SETTLE_S = 5.0
"""So long after the recovery from a fault what was queued meanwhile has been read, and latencies are those of calm."""
TICK_S = 0.02


class Calm:
    """When no fault is under way nor just over."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def __bool__(self) -> bool:
        return time.monotonic() >= self._since

    def end(self) -> None:
        """A fault begins."""
        self._since = math.inf

    def follow(self) -> None:
        """A fault was recovered from: calm begins after `SETTLE_S`."""
        self._since = time.monotonic() + SETTLE_S


@dataclass
class Window:
    """Times of one window, in ms: latencies from the source's clock to the application, those of calm once more apart."""

    values: list[float] = field(default_factory=list)
    calm: list[float] = field(default_factory=list)

    def add(self, value: float, *, calm: bool) -> None:
        self.values.append(value)
        if calm:
            self.calm.append(value)

    def close(self) -> dict[str, float]:
        """Give count, median and 99th percentiles, and begin anew: a soak must not grow by its own books."""
        values, calm, self.values, self.calm = self.values, self.calm, [], []
        return {
            "n": len(values),
            "p50_ms": percentile(values, 0.5) if values else 0.0,
            "p99_ms": percentile(values, 0.99) if values else 0.0,
            "calm_n": len(calm),
            "calm_p99_ms": percentile(calm, 0.99) if calm else 0.0,
        }


class Timer:
    """The yardstick beside the listeners: how late the machine wakes this very process, whatever Ringline does.

    It keeps to its times as a source does: a process that stands still for a second is late for fifty of them.
    """

    def __init__(self, calm: Calm) -> None:
        self.window = Window()
        self._calm = calm

    async def run(self) -> None:
        due = time.monotonic()
        while True:
            due += TICK_S
            if (left := due - time.monotonic()) > 0:
                await asyncio.sleep(left)
            self.window.add((time.monotonic() - due) * 1e3, calm=bool(self._calm))


class Listener:
    """Reads one output until told to stop."""

    def __init__(self, session: Session, output: str, calm: Calm) -> None:
        self.output = output
        self.received = self.quota_errors = self.most_held = 0
        self.newest = 0
        """The timestamp of the latest message."""
        self.window = Window()
        self.wrong: list[str] = []
        self.asleep = self.hoards = self.stopped = False
        self._session, self._calm = session, calm
        self._oracle = Oracle()
        self._held: list[RuntimeData] = []

    async def run(self) -> None:
        """Read until `stopped`; what was hoarded is given back at the end."""
        while not self.stopped:
            await (asyncio.sleep(0.05) if self.asleep else self._read())
            if not self.hoards:
                self.give_back()
        self.give_back()

    def give_back(self) -> None:
        """Release what was hoarded."""
        held, self._held = self._held, []
        for data in held:
            data.release()

    async def _read(self) -> None:
        try:
            data = await self._session.receive(self.output, timeout=PATIENCE_S)
        except TimeoutError:
            return
        except LeaseQuotaError:
            self.quota_errors += 1
            self.hoards = False
            return
        except EndOfStream:
            self.stopped = True
            return
        self._take(data)

    def _take(self, data: RuntimeData) -> None:
        self.received += 1
        self.newest = data.timestamp
        self.window.add((time.monotonic_ns() - data.timestamp) / 1e6, calm=bool(self._calm))
        try:
            self._oracle.check(data)
        except AssertionError as error:
            self.wrong.append(f"{self.output}: {error}")
        if self.hoards:
            self._held.append(data)
            self.most_held = max(self.most_held, len(self._held))
        else:
            data.release()
