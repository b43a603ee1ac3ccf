"""The node in which a pool's agents live: takes batches of orders, steps agents, answers in batches.

`AgentWorker` runs one step at a time (executor process); `ThreadedWorker` runs steps of different agents in threads (executor
hybrid), so that one agent's waiting is another's time. Orders of a pool to an earlier incarnation are ignored: the pool has
sent them again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final

from ringline.agents.hands import Hands
from ringline.agents.ledger import MAKER, Ledger
from ringline.agents.outbox import LONGEST_TEXT, Outbox
from ringline.agents.stage import Outcome, Stage, failed, named
from ringline.agents.state import SharedState
from ringline.agents.values import unpack
from ringline.agents.wire import Order, unpack_orders
from ringline.data import RuntimeData
from ringline.errors import DataError
from ringline.names import ENV_EPOCH, ENV_SESSION_DIR
from ringline.node.base import MultiprocessNode

STATE_FILE: Final = "state"
LEDGER_FILE: Final = "ledger"
_CANCELLED: Final = Outcome("cancelled")
_EXPIRED: Final = Outcome("expired")


class AgentWorker(MultiprocessNode):
    """Agents of a pool, one step at a time. Config: index, workers, threads, max_bytes of a message."""

    def initialize(self) -> None:
        """Open what the pool's workers share."""
        folder = Path(os.environ[ENV_SESSION_DIR])
        self._epoch = int(os.environ[ENV_EPOCH])
        self._index = int(self.config["index"])
        self._shared = SharedState.open(folder / STATE_FILE)
        self._ledger = Ledger(folder / LEDGER_FILE, int(self.config["workers"]))
        self._out = Outbox(self._epoch, int(self.config["max_bytes"]), self._send, self._hands_at_work)
        self._runner: asyncio.Runner | None = None
        self._agents: dict[int, str] = {}
        self._slots: dict[int, int] = {}
        self._stage = Stage(self._shared, self)
        for handler in logging.getLogger().handlers:
            handler.addFilter(named)

    def process(self, data: RuntimeData) -> None:
        """Carry out a batch of orders, answering now and then."""
        orders = self._orders(data)
        last = len(orders) - 1
        for place, order in enumerate(orders):
            self._step(order, 0, time.monotonic_ns(), last=place == last)
        self._out.flush()

    def on_end(self) -> None:
        """Send nothing any more: the stream ends."""
        self._out.close()

    def _orders(self, data: RuntimeData) -> list[Order]:
        """Make and drop agents as ordered, and give the steps that are for this incarnation."""
        epoch, linger_us, others, steps = unpack_orders(data.as_numpy().data)
        if epoch != self._epoch:
            return []
        self._out.linger_s = linger_us * 1e-6
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
            self._out.say("added", agent_id, self._stage.add(agent_id, target, arguments, again=again))
        except (Exception, SystemExit) as error:
            found = failed(error)
            self._out.say("refused", agent_id, found.error[:LONGEST_TEXT], found.traceback)

    def _step(self, order: Order, thread: int, began: int, *, last: bool) -> None:
        """Do a step, if it is still wanted, and answer it."""
        number, slot = order.step, order.slot
        if order.deadline_ns and began > order.deadline_ns:
            self._out.outcome(number, _EXPIRED, 0, began, last=last)
            return
        self._ledger.begin(self._index, thread, number, began)
        if self._ledger.cancelled(self._index, slot, number):
            outcome = _CANCELLED
        else:
            self._slots[number] = slot
            outcome = self._run(order)
            del self._slots[number]
        self._ledger.end(self._index, thread)
        ended = time.monotonic_ns()
        self._out.outcome(number, outcome, (ended - began) // 1000, ended, last=last)

    def _run(self, order: Order) -> Outcome:
        try:
            seen = unpack(order.blob)
        except DataError as error:
            return failed(error)
        return self._stage.step(order.step, self._agents.get(order.agent, ""), seen)

    def _send(self, batch: RuntimeData) -> None:
        self.emit(None, batch)

    def _hands_at_work(self) -> int:
        return 1

    def progressed(self, step: int, fraction: float, message: str) -> None:
        """Tell the pool at once how far a step is."""
        self._out.say("progress", step, fraction, message[:LONGEST_TEXT])
        self._out.flush()

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
        """Prepare for threads, which start when there is work for them."""
        self._hands: Hands[Order] = Hands(int(self.config["threads"]), self._do)
        self._ranks = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begin_loop = threading.Lock()
        super().initialize()

    def process(self, data: RuntimeData) -> None:
        """Hand a batch of orders to the threads."""
        for order in self._orders(data):
            self._hands.put(order.agent, next(self._ranks), order._replace(blob=bytes(order.blob)))
        self._out.flush()

    def _do(self, order: Order, thread: int, began: int) -> None:
        self._step(order, thread, began, last=False)
        if self._hands.alone:
            self._out.flush()

    def _hands_at_work(self) -> int:
        return max(1, self._hands.active)

    def finish(self, result: Awaitable[Any]) -> Any:
        """Complete an async agent's step on an event loop in a thread of its own, beside those of the others."""
        with self._begin_loop:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="agents-loop", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(_awaited(result), self._loop).result()

    def cleanup(self) -> None:
        """End the threads that are idle."""
        if hasattr(self, "_hands"):
            self._hands.close()
        super().cleanup()


async def _awaited(result: Any) -> Any:
    return await result
