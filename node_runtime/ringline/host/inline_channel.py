"""A channel between two nodes of one process: a bounded queue with the same five overflow policies as a ring.

Messages go through the codec as they do between processes, so that a node sees the same in both: a read-only payload of its
own, the same metadata, the same errors. Used by `inline` only.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass

from ringline.data import RuntimeData
from ringline.data.codec import decode, encode
from ringline.errors import MessageTooLargeError
from ringline.graph.layout import ChannelPlan
from ringline.shm import ChannelStats


class Copied(bytes):
    """A message's payload as a lease: it lives as long as somebody looks at it."""

    released = False

    def release(self) -> None:
        self.released = True


@dataclass(frozen=True, slots=True)
class Wire:
    """A message between two nodes."""

    kind: int
    meta: bytes
    payload: bytes
    timestamp: int
    origin: int
    sent_s: float


class Bell:
    """Rings for everybody who waits for any channel to change."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)


class InlineChannel:
    """One channel. `put` and `take` never wait; who must wait does so on the bell."""

    def __init__(self, plan: ChannelPlan, bell: Bell, session_id: str, largest_bytes: int) -> None:
        self.plan = plan
        self.ended = False
        self._bell = bell
        self._session_id = session_id
        self._largest_bytes = largest_bytes
        self._queue: deque[Wire] = deque()
        self._taken = 0
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()

    def wire(self, data: RuntimeData) -> Wire:
        """Encode a message. Raises `DataError` or `MessageTooLargeError`."""
        encoded = encode(data, self._session_id)
        payload = bytes(encoded.payload)
        if len(payload) > self._largest_bytes:
            raise MessageTooLargeError(
                f"a message of {len(payload)} bytes is larger than channel '{self.plan.name}' takes "
                f"({self._largest_bytes}); raise max_message_size"
            )
        origin = data.origin or time.monotonic_ns()
        return Wire(encoded.kind, encoded.meta, payload, data.timestamp, origin, time.monotonic())

    def put(self, message: Wire, *, forced: bool = False) -> bool | None:
        """Queue a message: True done, False dropped by the policy, None a blocking channel is full (unless `forced`)."""
        self._expire()
        if len(self._queue) >= self.plan.capacity and not forced:
            if self.plan.overflow == "block":
                return None
            if self.plan.overflow == "drop_newest":
                self._dropped["newest"] += 1
                return False
            self._queue.popleft()
            self._dropped["overwritten"] += 1
        self._queue.append(message)
        self._counts["messages"] += 1
        self._counts["bytes"] += len(message.payload)
        self._bell.ring()
        return True

    def take(self) -> RuntimeData | None:
        """Take the oldest message, or None."""
        self._expire()
        if not self._queue:
            return None
        message = self._queue.popleft()
        sequence, self._taken = self._taken, self._taken + 1
        self._bell.ring()
        return decode(
            message.kind,
            message.meta,
            Copied(message.payload),
            timestamp=message.timestamp,
            origin=message.origin,
            sequence=sequence,
            port=self.plan.consumer_port or self.plan.producer_port,
            session_id=self._session_id,
        )

    @property
    def over(self) -> bool:
        """Ended, and everything read."""
        return self.ended and not self._queue

    def end(self) -> None:
        """No message will follow. Idempotent."""
        self.ended = True
        self._bell.ring()

    def flush(self) -> None:
        """Drop and count what is queued."""
        self._dropped["flushed"] += len(self._queue)
        self._queue.clear()
        self._bell.ring()

    def stats(self) -> ChannelStats:
        """Give the same record as of a ring."""
        plan = self.plan
        return ChannelStats(
            name=plan.name,
            producer=plan.producer,
            consumer=plan.consumer,
            message_count=self._counts["messages"],
            bytes_transferred=self._counts["bytes"],
            current_occupancy=len(self._queue),
            capacity=plan.capacity,
            dropped=dict(self._dropped),
            blocked_seconds=0.0,
            wakeups=0,
            copies=0,
            ended=self.ended,
        )

    def _expire(self) -> None:
        if self.plan.overflow != "deadline":
            return
        oldest = time.monotonic() - self.plan.deadline_ms / 1000
        while self._queue and self._queue[0].sent_s < oldest:
            self._queue.popleft()
            self._dropped["deadline"] += 1
