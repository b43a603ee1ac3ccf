"""The node in which a pool's agents live: takes batches of orders, steps agents, answers in batches.

`AgentWorker` runs one step at a time (executor process); `ThreadedWorker` runs steps of different agents in threads (executor
hybrid), so that one agent's waiting is another's time. Orders of a pool to an earlier incarnation are ignored: the pool has
sent them again.
"""

from __future__ import annotations

import asyncio
import os
import queue
import resource
import threading
import time
from collections import deque
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, Final

from ringline.agents.ledger import MAKER, Ledger
from ringline.agents.stage import Outcome, Stage, failed
from ringline.agents.state import SharedState
from ringline.agents.values import pack, unpack
from ringline.agents.wire import KINDS, Order, Row, pack_answers, unpack_orders
from ringline.data import RuntimeData
from ringline.errors import DataError
from ringline.names import ENV_EPOCH, ENV_SESSION_DIR
from ringline.node.base import MultiprocessNode

ANSWER_AFTER_NS: Final = 2_000_000
"""Answers wait so long for company, then go."""
STATE_FILE: Final = "state"
LEDGER_FILE: Final = "ledger"
HEADROOM: Final = 64 << 10
"""Of a message, for what stands around values."""
_LONGEST_TEXT: Final = 4096
"""Characters of an error's last line, or of a sentence of progress."""
_PAGE: Final = resource.getpagesize()
_LOOK_AFTER_NS: Final = 50_000_000
"""So long a look at this process' memory is good for."""
_KIND: Final = {kind: number for number, kind in enumerate(KINDS)}
_CANCELLED: Final = Outcome("cancelled")
_EXPIRED: Final = Outcome("expired")


class Memory:
    """How much memory this process holds, looked at now and then."""

    def __init__(self) -> None:
        self._file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._bytes = 0
        self._looked_ns = 0

    def resident_bytes(self, now_ns: int) -> int:
        """Give the bytes, at most 50 ms old."""
        if now_ns - self._looked_ns > _LOOK_AFTER_NS:
            self._looked_ns = now_ns
            self._bytes = int(os.pread(self._file, 200, 0).split()[1]) * _PAGE
        return self._bytes

    def close(self) -> None:
        """Let go of the file; idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Outbox:
    """Answers on their way out, as a batch."""

    def __init__(self, epoch: int, max_bytes: int) -> None:
        self._epoch = epoch
        self._max_bytes = max_bytes - HEADROOM
        self._size = 0
        self._memory = Memory()
        self._said: list[list[Any]] = []
        self._rows: list[Row] = []

    def __bool__(self) -> bool:
        return bool(self._rows or self._said)

    @property
    def full(self) -> bool:
        """Whether it is time to send what there is, so that the next answer finds room."""
        return self._size > self._max_bytes // 2

    def outcome(self, step: int, outcome: Outcome, busy_us: int) -> RuntimeData | None:
        """Answer a step. Gives what was there before, to be sent first, if both together would be too large."""
        kind, blob = outcome.kind, outcome.result
        if kind == "done" and len(blob) > self._max_bytes:
            kind = "unsendable"
            text = f"a result of {len(blob)} bytes can't be sent: at most {self._max_bytes}; raise max_message_size"
            outcome = Outcome(kind, error=text)
        if kind != "done":
            blob = pack([outcome.error[:_LONGEST_TEXT], outcome.traceback])
        before = self.take() if self._size + len(blob) > self._max_bytes else None
        self._rows.append(Row(step, _KIND[kind], min(busy_us, 0xFFFFFFFF), blob))
        self._size += len(blob) + 64
        return before

    def say(self, *row: Any) -> None:
        """Say something else than an outcome."""
        self._said.append(list(row))
        self._size += 256 + sum(len(each) for each in row if isinstance(each, str))

    def take(self) -> RuntimeData:
        """Give the batch as a message, and begin a new one."""
        resident = self._memory.resident_bytes(time.monotonic_ns())
        data = RuntimeData.binary(pack_answers(self._epoch, resident, self._said, self._rows))
        self._said, self._rows, self._size = [], [], 0
        return data

    def close(self) -> None:
        """Let go of its file."""
        self._memory.close()


class AgentWorker(MultiprocessNode):
    """Agents of a pool, one step at a time. Config: index, workers, threads, max_bytes of a message."""

    def initialize(self) -> None:
        """Open what the pool's workers share."""
        folder = Path(os.environ[ENV_SESSION_DIR])
        self._epoch = int(os.environ[ENV_EPOCH])
        self._index = int(self.config["index"])
        self._shared = SharedState.open(folder / STATE_FILE)
        self._ledger = Ledger(folder / LEDGER_FILE, int(self.config["workers"]))
        self._out = Outbox(self._epoch, int(self.config["max_bytes"]))
        self._runner: asyncio.Runner | None = None
        self._agents: dict[int, str] = {}
        self._slots: dict[int, int] = {}
        self._early: deque[RuntimeData] = deque()
        self._stage = Stage(self._shared, self)

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        """Carry out a batch of orders, answering now and then."""
        said = time.monotonic_ns()
        for order in self._orders(data):
            now = self._step(order, 0)
            while self._early:
                yield self._early.popleft()
            if now - said > ANSWER_AFTER_NS or self._out.full:
                yield self._out.take()
                said = now
        if self._out:
            yield self._out.take()

    def _orders(self, data: RuntimeData) -> list[Order]:
        """Make and drop agents as ordered, and give the steps that are for this incarnation."""
        epoch, others, steps = unpack_orders(data.as_numpy().data)
        if epoch != self._epoch:
            return []
        for order in others:
            self._arrange(*order)
        return steps

    def _arrange(self, number: int, agent_id: str, *made: Any) -> None:
        """Make an agent, or (without what it is made of) drop it."""
        if not made:
            self._agents.pop(number, None)
            self._stage.drop(agent_id)
            return
        self._agents[number] = agent_id
        self._ledger.begin(self._index, MAKER, made[0])
        self._make(agent_id, *made[1:])
        self._ledger.end(self._index, MAKER)

    def _make(self, agent_id: str, target: str, arguments: dict[str, Any], again: bool) -> None:
        try:
            self._say("added", agent_id, self._stage.add(agent_id, target, arguments, again=again))
        except (Exception, SystemExit) as error:
            found = failed(error)
            self._say("refused", agent_id, found.error[:_LONGEST_TEXT], found.traceback)

    def _step(self, order: Order, thread: int) -> int:
        """Do a step, if it is still wanted; when it was done."""
        number, slot = order.step, order.slot
        began = time.monotonic_ns()
        if order.deadline_ns and began > order.deadline_ns:
            self._done(number, _EXPIRED, 0)
            return began
        self._ledger.begin(self._index, thread, number, began)
        if self._ledger.cancelled(self._index, slot, number):
            outcome = _CANCELLED
        else:
            self._slots[number] = slot
            outcome = self._run(order)
            del self._slots[number]
        self._ledger.end(self._index, thread)
        ended = time.monotonic_ns()
        self._done(number, outcome, (ended - began) // 1000)
        return ended

    def _run(self, order: Order) -> Outcome:
        try:
            seen = unpack(order.blob)
        except DataError as error:
            return failed(error)
        return self._stage.step(order.step, self._agents.get(order.agent, ""), seen)

    def _done(self, number: int, outcome: Outcome, busy_us: int) -> None:
        before = self._out.outcome(number, outcome, busy_us)
        if before is not None:
            self._early.append(before)

    def _say(self, *row: Any) -> None:
        self._out.say(*row)

    def progressed(self, step: int, fraction: float, message: str) -> None:
        """Tell the pool at once how far a step is."""
        self._say("progress", step, fraction, message[:_LONGEST_TEXT])
        self.emit(None, self._out.take())

    def unwanted(self, step: int) -> bool:
        """Say whether somebody tried to cancel a step in work."""
        slot = self._slots.get(step)
        return slot is not None and self._ledger.cancelled(self._index, slot, step)

    def finish(self, result: Awaitable[Any]) -> Any:
        """Complete an async agent's step."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(_awaited(result))

    def cleanup(self) -> None:
        """Close the event loop of async agents."""
        if getattr(self, "_runner", None) is not None and self._runner is not None:
            self._runner.close()
        if hasattr(self, "_out"):
            self._out.close()


class ThreadedWorker(AgentWorker):
    """The same with threads; the steps of one agent still come one after the other."""

    def initialize(self) -> None:
        """Start the threads."""
        super().initialize()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lines: dict[int, deque[Order]] = {}
        self._ready: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._telling = False
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"agents-{number}", daemon=True)
            for number in range(int(self.config["threads"]))
        ]
        for thread in self._threads:
            thread.start()

    async def process(self, data: RuntimeData) -> None:  # type: ignore[override]
        """Hand a batch of orders to the threads."""
        self._loop = asyncio.get_running_loop()
        steps = self._orders(data)
        ready = []
        with self._lock:
            for order in steps:
                kept = order._replace(blob=bytes(order.blob))
                line = self._lines.get(order.agent)
                if line is None:
                    self._lines[order.agent] = deque((kept,))
                    ready.append(order.agent)
                else:
                    line.append(kept)
        for agent in ready:
            self._ready.put(agent)
        self._tell()

    def _work(self, thread: int) -> None:
        while (agent := self._ready.get()) is not None:
            self._step(self._lines[agent][0], thread)
            with self._lock:
                line = self._lines[agent]
                line.popleft()
                if not line:
                    del self._lines[agent]
                    continue
            self._ready.put(agent)

    def _done(self, number: int, outcome: Outcome, busy_us: int) -> None:
        with self._lock:
            super()._done(number, outcome, busy_us)
            telling, self._telling = self._telling, True
        self._call(telling)

    def _say(self, *row: Any) -> None:
        with self._lock:
            super()._say(*row)

    def progressed(self, step: int, fraction: float, message: str) -> None:
        """Tell the pool at once how far a step is."""
        self._say("progress", step, fraction, message[:_LONGEST_TEXT])
        self._call(False)

    def _call(self, telling: bool) -> None:
        """Have the loop send what is there; once for all that comes before it does."""
        if not telling and self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        with self._lock:
            self._telling = False
            if self._out:
                self._early.append(self._out.take())
        while self._early:
            self.emit(None, self._early.popleft())

    def finish(self, result: Awaitable[Any]) -> Any:
        """Complete an async agent's step on the node's event loop, beside those of the others."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(_awaited(result), self._loop).result()

    def cleanup(self) -> None:
        """End the threads that are idle."""
        for _ in getattr(self, "_threads", ()):
            self._ready.put(None)
        super().cleanup()


async def _awaited(result: Any) -> Any:
    return await result
