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

from ringline.agents.ledger import Ledger
from ringline.agents.stage import Outcome, Stage, failed
from ringline.agents.state import SharedState
from ringline.agents.wire import frame, unframe
from ringline.data import RuntimeData
from ringline.names import ENV_EPOCH, ENV_SESSION_DIR
from ringline.node.base import MultiprocessNode

ANSWER_AFTER_S: Final = 0.005
"""Answers wait so long for company, then go."""
STATE_FILE: Final = "state"
LEDGER_FILE: Final = "ledger"
_PAGE: Final = resource.getpagesize()


class Answers:
    """Answers on their way out, as a batch."""

    def __init__(self) -> None:
        self._rows: list[Any] = []
        self._blobs: list[bytes] = []

    def __bool__(self) -> bool:
        return bool(self._rows)

    def outcome(self, step: int, outcome: Outcome, busy_s: float) -> None:
        """Answer a step."""
        self._rows.append([outcome.kind, step, busy_s, outcome.error])
        self._blobs.append(outcome.result if outcome.kind == "done" else outcome.traceback.encode())

    def say(self, *row: Any) -> None:
        """Say something else than an outcome."""
        self._rows.append(list(row))
        self._blobs.append(b"")

    def take(self, epoch: int) -> RuntimeData:
        """Give the batch as a message, and begin a new one."""
        header = {"epoch": epoch, "rss": _resident_bytes(), "rows": self._rows}
        data = RuntimeData.binary(frame(header, self._blobs))
        self._rows, self._blobs = [], []
        return data


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE


class AgentWorker(MultiprocessNode):
    """Agents of a pool, one step at a time. Config: index, workers, threads."""

    def initialize(self) -> None:
        """Open what the pool's workers share."""
        folder = Path(os.environ[ENV_SESSION_DIR])
        self._epoch = int(os.environ[ENV_EPOCH])
        self._index = int(self.config["index"])
        self._shared = SharedState.open(folder / STATE_FILE)
        self._ledger = Ledger(folder / LEDGER_FILE, int(self.config["workers"]))
        self._answers = Answers()
        self._runner: asyncio.Runner | None = None
        self._stage = Stage(self._shared, self._finish, self._progressed)

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        """Carry out a batch of orders, answering now and then."""
        said = time.monotonic()
        for order, blob in self._orders(data):
            if order[0] != "step":
                self._arrange(order)
                continue
            self._step(order, blob)
            if time.monotonic() - said > ANSWER_AFTER_S:
                yield self._answers.take(self._epoch)
                said = time.monotonic()
        if self._answers:
            yield self._answers.take(self._epoch)

    def _orders(self, data: RuntimeData) -> list[tuple[list[Any], memoryview]]:
        header, blobs = unframe(data.as_numpy().data)
        return list(zip(header["orders"], blobs, strict=True)) if header["epoch"] == self._epoch else []

    def _arrange(self, order: list[Any]) -> None:
        if order[0] == "drop":
            self._stage.drop(order[1])
            return
        _, agent_id, target, arguments, again = order
        try:
            self._answers.say("added", agent_id, self._stage.add(agent_id, target, arguments, again=again))
        except Exception as error:
            found = failed(error)
            self._answers.say("refused", agent_id, found.error, found.traceback)

    def _step(self, order: list[Any], blob: memoryview, thread: int = 0) -> None:
        _, number, agent_id, deadline_ns = order
        began = time.monotonic()
        if deadline_ns and time.monotonic_ns() > deadline_ns:
            self._done(number, Outcome("expired"), 0.0)
            return
        self._ledger.begin(self._index, thread, number)
        outcome = self._stage.step(number, agent_id, blob)
        self._ledger.end(self._index, thread)
        self._done(number, outcome, time.monotonic() - began)

    def _done(self, number: int, outcome: Outcome, busy_s: float) -> None:
        self._answers.outcome(number, outcome, busy_s)

    def _progressed(self, number: int, fraction: float, message: str) -> None:
        progress = Answers()
        progress.say("progress", number, fraction, message)
        self.emit(None, progress.take(self._epoch))

    def _finish(self, result: Awaitable[Any]) -> Any:
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(_awaited(result))

    def cleanup(self) -> None:
        """Close the event loop of async agents."""
        if getattr(self, "_runner", None) is not None and self._runner is not None:
            self._runner.close()


class ThreadedWorker(AgentWorker):
    """The same with threads; the steps of one agent still come one after the other."""

    def initialize(self) -> None:
        """Start the threads."""
        super().initialize()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._lines: dict[str, deque[tuple[list[Any], bytes]]] = {}
        self._ready: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
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
        for order, blob in self._orders(data):
            if order[0] == "step":
                self._queue(order, bytes(blob))
            else:
                with self._lock:
                    self._arrange(order)
        self._tell()

    def _queue(self, order: list[Any], blob: bytes) -> None:
        with self._lock:
            line = self._lines.get(order[2])
            if line is None:
                self._lines[order[2]] = deque(((order, blob),))
            else:
                line.append((order, blob))
                return
        self._ready.put(order[2])

    def _work(self, thread: int) -> None:
        while (agent_id := self._ready.get()) is not None:
            with self._lock:
                order, blob = self._lines[agent_id][0]
            self._step(order, memoryview(blob), thread)
            with self._lock:
                line = self._lines[agent_id]
                line.popleft()
                if not line:
                    del self._lines[agent_id]
                    continue
            self._ready.put(agent_id)

    def _done(self, number: int, outcome: Outcome, busy_s: float) -> None:
        with self._lock:
            self._answers.outcome(number, outcome, busy_s)
            telling, self._telling = self._telling, True
        if not telling and self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        with self._lock:
            self._telling = False
            data = self._answers.take(self._epoch) if self._answers else None
        if data is not None and self._loop is not None:
            task = self._loop.create_task(self.emit_async(None, data))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    def _progressed(self, number: int, fraction: float, message: str) -> None:
        with self._lock:
            self._answers.say("progress", number, fraction, message)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell)

    def _finish(self, result: Awaitable[Any]) -> Any:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(_awaited(result), self._loop).result()

    def cleanup(self) -> None:
        """End the threads that are idle."""
        for _ in getattr(self, "_threads", ()):
            self._ready.put(None)


async def _awaited(result: Any) -> Any:
    return await result
