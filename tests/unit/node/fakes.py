"""An arena without shared memory: the same surface as `ringline.shm.Arena`, inside one process, for tests of the drivers."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ringline.control.messages import Message, MessageType
from ringline.data import RuntimeData, decode, encode
from ringline.node.base import MultiprocessNode, create
from ringline.node.commands import Commands
from ringline.node.drive import Driver
from ringline.node.drive_async import AsyncDriver
from ringline.node.drive_sync import SyncDriver
from ringline.node.outputs import OutputPorts, is_async
from ringline.node.ports import Inbox, Outbox
from ringline.node.signals import break_in

SESSION = "session-of-tests"


class FakeLease(bytes):
    """A block that was read: bytes with a lease's attributes."""

    kind: int
    meta: bytes
    timestamp: int
    origin: int
    sequence: int
    released = False

    @classmethod
    def of(cls, fields: tuple[Any, ...]) -> FakeLease:
        kind, meta, payload, *rest = fields
        lease = cls(payload)
        lease.kind, lease.meta = kind, meta
        lease.timestamp, lease.origin, lease.sequence = rest
        return lease

    @property
    def nbytes(self) -> int:
        return len(self)

    def release(self) -> None:
        self.released = True


class FakeLoan(bytearray):
    """A writable block that was not committed yet."""

    discarded = False
    __hash__ = object.__hash__  # type: ignore[assignment]

    @property
    def nbytes(self) -> int:
        return len(self)

    def discard(self) -> None:
        self.discarded = True


@dataclass
class Channel:
    """A queue with a capacity; `how` lists the verb by which each message came."""

    capacity: int = 1000
    queue: deque[tuple[int, tuple[Any, ...]]] = field(default_factory=deque)
    ended: bool = False
    how: list[str] = field(default_factory=list)
    sent: int = 0


class FakeReader:
    def __init__(self, arena: FakeArena, name: str) -> None:
        self.arena, self.channel = arena, name
        self.wanted = True
        arena.readers.append(self)

    def next(self) -> FakeLease | None:
        with self.arena.changed:
            channel = self.arena.channels[self.channel]
            if not channel.queue:
                return None
            _, fields = channel.queue.popleft()
            self.arena.changed.notify_all()
        return FakeLease.of(fields)

    @property
    def ended(self) -> bool:
        channel = self.arena.channels[self.channel]
        return channel.ended and not channel.queue


class FakeWriter:
    def __init__(self, arena: FakeArena, names: Sequence[str]) -> None:
        self.arena, self.names = arena, names
        self.block_timeout_s: float | None = arena.block_timeout_s
        self.blocked_since = 0.0

    def _put(self, how: str, fields: tuple[int, bytes, bytes, int, int], *, wait: bool) -> bool | None:
        kind, meta, payload, timestamp, origin = fields
        with self.arena.changed:
            for name in self.names:
                channel = self.arena.channels[name]
                while len(channel.queue) >= channel.capacity:
                    if not wait:
                        return self._would_block()
                    self.arena.changed.wait(0.05)
                entry = (kind, meta, payload, timestamp, origin, channel.sent)
                channel.queue.append((self.arena.stamped, entry))
                channel.how.append(how)
                channel.sent += 1
            self.arena.changed.notify_all()
        return True

    def _would_block(self) -> bool | None:
        now = time.monotonic()
        self.blocked_since = self.blocked_since or now
        if self.block_timeout_s is None or now - self.blocked_since < self.block_timeout_s:
            return None
        self.cancel()
        self.arena.timeouts += 1
        return False

    def cancel(self) -> None:
        self.blocked_since = 0.0

    def send(self, payload: Any, kind: int, meta: bytes, timestamp: int, origin: int = 0) -> bool | None:
        return self._put("send", (kind, meta, bytes(memoryview(payload)), timestamp, origin), wait=True)

    def try_send(self, payload: Any, kind: int, meta: bytes, timestamp: int, origin: int = 0) -> bool | None:
        return self._put("send", (kind, meta, bytes(memoryview(payload)), timestamp, origin), wait=False)

    def forward(self, lease: Any, kind: int, meta: bytes, timestamp: int, origin: int = 0) -> bool | None:
        return self._put("forward", (kind, meta, bytes(lease), timestamp, origin), wait=True)

    def try_forward(self, lease: Any, kind: int, meta: bytes, timestamp: int, origin: int = 0) -> bool | None:
        return self._put("forward", (kind, meta, bytes(lease), timestamp, origin), wait=False)

    def commit(self, loan: FakeLoan, kind: int, meta: bytes, timestamp: int, origin: int = 0) -> bool | None:
        return self._put("commit", (kind, meta, bytes(loan), timestamp, origin), wait=True)

    try_commit = commit

    def loan(self, nbytes: int) -> FakeLoan:
        self.arena.loans.append(FakeLoan(nbytes))
        return self.arena.loans[-1]

    def end(self) -> None:
        with self.arena.changed:
            for name in self.names:
                self.arena.channels[name].ended = True


class FakeArena:
    """One node's view of a session's memory."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self.channels = dict(channels)
        self.changed = threading.Condition()
        self.flush_generation = 0
        self.stamped = 0
        self.beats: list[bool] = []
        self.observed: list[float] = []
        self.loans: list[FakeLoan] = []
        self.timeouts = 0
        self.block_timeout_s: float | None = None
        self.readers: list[FakeReader] = []
        self.closed = False
        self._woken = False
        self._armed = False
        self.poll_fd = os.eventfd(0, os.EFD_NONBLOCK)

    def close(self) -> None:
        with self.changed:
            self.closed = True
            os.close(self.poll_fd)

    def reader(self, name: str) -> FakeReader:
        return FakeReader(self, name)

    def writer(self, names: Sequence[str]) -> FakeWriter:
        return FakeWriter(self, names)

    def stamp(self) -> None:
        self.stamped = self.flush_generation

    def beat(self, busy: bool) -> None:
        self.beats.append(busy)

    def observe(self, seconds: float) -> None:
        self.observed.append(seconds)

    def wait(self, timeout_s: float | None = None) -> bool:
        with self.changed:
            return self.changed.wait_for(self._ready, 1.0 if timeout_s is None else timeout_s)

    def wake(self) -> None:
        with self.changed:
            self._woken = True
            self.changed.notify_all()
            if not self.closed:
                os.eventfd_write(self.poll_fd, 1)

    def arm(self) -> bool:
        return self._ready()

    def disarm(self) -> None:
        try:
            os.eventfd_read(self.poll_fd)
        except BlockingIOError:
            pass

    def _ready(self) -> bool:
        woken, self._woken = self._woken, False
        looked_at = [self.channels[reader.channel] for reader in self.readers if reader.wanted]
        return woken or any(channel.queue or channel.ended for channel in looked_at)


class Rig:
    """A driver with its node, fed and read by the test; the driver runs in the thread that calls `run`."""

    def __init__(
        self,
        cls: type[MultiprocessNode],
        *,
        inputs: Sequence[str] = ("input",),
        block_timeout_s: float | None = None,
        **channels: Channel,
    ) -> None:
        outputs = [name.removeprefix("out_") for name in channels if name.startswith("out_")] or ["output"]
        named = {f"in_{port}": Channel() for port in inputs} | {f"out_{port}": Channel() for port in outputs} | channels
        self.arena = FakeArena(named)
        self.arena.block_timeout_s = block_timeout_s
        self.told: list[Message] = []
        self.reported: list[tuple[float, str]] = []
        self.commands = Commands(self.told.append, lambda: {"state": "running"})
        work = getattr(cls, "produce", None) or cls.process
        make: Callable[..., Driver] = AsyncDriver if is_async(work) else SyncDriver
        self.driver = make(self.commands, {"session": SESSION}, SESSION, lambda f, m: self.reported.append((f, m)))
        self.node = create(cls, "node", {})
        self.driver.adopt(self.node)
        self.node._attach(self.driver, tuple(inputs), tuple(outputs))
        self.driver.call(self.node.initialize())
        arena: Any = self.arena
        self.outbox = Outbox(arena, OutputPorts(self.node, tuple(outputs)), {p: [f"out_{p}"] for p in outputs}, SESSION)
        self.driver.connect(arena, Inbox(arena, {port: f"in_{port}" for port in inputs}, SESSION), self.outbox)
        self.commands.notify = self.driver.notify

    def feed(self, *values: Any, port: str = "input", end: bool = False) -> None:
        """Put messages into an input."""
        channel = self.arena.channels[f"in_{port}"]
        with self.arena.changed:
            for value in values:
                data = RuntimeData.coerce(value)
                kind, meta, payload, _ = encode(data, SESSION)
                fields = (kind, meta, bytes(memoryview(payload)), data.timestamp, data.origin, channel.sent)
                channel.queue.append((0, fields))
                channel.sent += 1
            channel.ended = end
        self.arena.wake()

    def order(self, kind: MessageType, payload: dict[str, Any] | None = None) -> Message:
        """Send a command, as the control thread does."""
        message = Message(kind, payload or {})
        self.commands.take(message)
        if kind is MessageType.SHUTDOWN:
            break_in()
        return message

    def flush(self) -> None:
        """Flush the node as the host does: first the words in memory, then the command."""
        with self.arena.changed:
            self.arena.flush_generation += 1
            for channel in self.arena.channels.values():
                channel.queue.clear()
        self.order(MessageType.FLUSH)

    def run(self) -> list[Any]:
        """Start the node and drive it to its end; gives what it sent by its first output."""
        self.order(MessageType.START)
        try:
            self.driver.run()
        finally:
            self.driver.call(self.node.cleanup())
            self.driver.close()
            self.arena.close()
        return self.sent()

    def sent(self, port: str | None = None) -> list[Any]:
        """Give the payloads in an output, without those that a flush made stale."""
        name = f"out_{port}" if port else next(n for n in self.arena.channels if n.startswith("out_"))
        return [
            received(fields).payload
            for stamp, fields in self.arena.channels[name].queue
            if stamp == self.arena.flush_generation
        ]

    def answers(self, kind: MessageType) -> list[Message]:
        return [message for message in self.told if message.type is kind]


def received(fields: tuple[Any, ...]) -> RuntimeData:
    lease = FakeLease.of(fields)
    where = {"timestamp": lease.timestamp, "origin": lease.origin, "sequence": lease.sequence}
    return decode(lease.kind, lease.meta, lease, **where, port="", session_id=SESSION)
