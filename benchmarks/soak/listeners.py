"""The soak's application: reads every output, checks each message, and misbehaves when a fault asks it to."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from benchmarks.rows import percentile
from benchmarks.soak.nodes import Oracle
from ringline import EndOfStream, LeaseQuotaError, RuntimeData, Session

PATIENCE_S = 0.5
"""A listener looks at its orders this often when nothing comes."""


@dataclass
class Window:
    """Latencies of one window of time, in ms, from the source's clock to the application."""

    values: list[float] = field(default_factory=list)

    def close(self) -> tuple[int, float, float]:
        """Give count, median and 99th percentile, and begin anew: a soak must not grow by its own books."""
        values, self.values = self.values, []
        if not values:
            return 0, 0.0, 0.0
        return len(values), percentile(values, 0.5), percentile(values, 0.99)


class Listener:
    """Reads one output until told to stop."""

    def __init__(self, session: Session, output: str) -> None:
        self.output = output
        self.received = self.quota_errors = self.most_held = 0
        self.newest = 0
        """The timestamp of the latest message."""
        self.window = Window()
        self.wrong: list[str] = []
        self.asleep = self.hoards = self.stopped = False
        self._session = session
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
        self.window.values.append((time.monotonic_ns() - data.timestamp) / 1e6)
        try:
            self._oracle.check(data)
        except AssertionError as error:
            self.wrong.append(f"{self.output}: {error}")
        if self.hoards:
            self._held.append(data)
            self.most_held = max(self.most_held, len(self._held))
        else:
            data.release()
