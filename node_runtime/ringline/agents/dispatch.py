"""Which step of a pool goes to which worker when. `fleet.Fleet`, which adds what comes back, is the only one to use it.

Callers submit from any thread; answers and exits come in the pool's event loop. Whoever comes takes the turn (a lock), and answers
futures only after it, since their callbacks may come back here.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from ringline.agents.gauges import PoolFacts
from ringline.agents.ledger import Ledger
from ringline.agents.pool_engine import RECYCLED, PoolSession, worker_name
from ringline.agents.roster import REFILL, Agent, Limits, Worker
from ringline.agents.steps import Step
from ringline.agents.wire import Order, pack_orders
from ringline.errors import (
    AgentCrashed,
    AgentError,
    ChannelFullError,
    PoolClosedError,
    PoolError,
    SessionError,
    StepExpired,
)  # fmt: skip

_FULL_S: Final = 0.002


class Turn:
    """Be the only one; what is told `after` it is told by whoever had the turn, outside of the lock."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._news: list[tuple[Callable[[Any], None], Any]] = []

    def after(self, tell: Callable[[Any], None], what: Any) -> None:
        """Have `tell(what)` called after this turn."""
        self._news.append((tell, what))

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        news, self._news = self._news, []
        self._lock.release()
        for tell, what in news:
            tell(what)


class Dispatch(ABC):
    """Every public method takes the turn itself. What has a loop in its name must run there."""

    def __init__(
        self, workers: int, limits: Limits, loop: asyncio.AbstractEventLoop, ledger: Callable[[], Ledger]
    ) -> None:
        self.workers = [Worker(index, worker_name(index)) for index in range(workers)]
        self.agents: dict[str, Agent] = {}
        self.anew = 0
        self.restored = 0
        self._by_name = {worker.name: worker for worker in self.workers}
        self._limits = limits
        self._loop = loop
        self._make_ledger = ledger
        self._ledger: Ledger | None = None
        self._session: PoolSession
        self._numbers = itertools.count(1)
        self._turn = Turn()
        self._called = False
        self._watching = False
        self._failure: Exception | None = None

    def _answer(self, step: Step, value: Any) -> None:
        self._turn.after(step.answer, value)

    def _refuse(self, step: Step, error: Exception) -> None:
        self._turn.after(step.fail, error)

    @abstractmethod
    def _watch(self) -> None:
        """See to it that steps and agents in the making that take too long are ended."""

    # -- life ------------------------------------------------------------------------------------------------------

    def attach(self, session: PoolSession) -> None:
        """Take the session that runs the workers; before it starts them."""
        self._session = session

    def end(self) -> None:
        """Fail what still waits, and whatever comes."""
        self.fail(PoolClosedError("the pool was closed"))
        with self._turn:
            if self._ledger is not None:
                self._ledger.close()
                self._ledger = None

    def fail(self, error: Exception) -> None:
        """Fail every step that is not answered, and those to come."""
        with self._turn:
            self._failure = self._failure or error
            for agent in self.agents.values():
                for step in (agent.made, *(step for _, step in agent.waiting)):
                    self._refuse(step, error)
            for worker in self.workers:
                for step in worker.everything():
                    self._refuse(step, error)

    def facts(self) -> PoolFacts:
        """Count, for all workers and each."""
        with self._turn:
            workers = tuple(worker.facts(self._session.pid(worker.name)) for worker in self.workers)
            return PoolFacts(len(workers), sum(each.waiting for each in workers), self.restored, self.anew, workers)

    # -- what callers ask for --------------------------------------------------------------------------------------

    def add(self, made: Step, target: str, arguments: dict[str, Any]) -> None:
        """Give an agent to the worker that has fewest."""
        with self._turn:
            usable = [worker for worker in self.workers if not worker.lost]
            if self._failure is not None or not usable:
                self._refuse(made, self._failure or PoolClosedError("the pool has no workers any more"))
                return
            worker = min(usable, key=lambda each: len(each.agents))
            agent = Agent(next(self._numbers), made.agent_id, target, arguments, worker, made)
            self.agents[made.agent_id] = worker.agents[made.agent_id] = agent
            worker.introduce(agent)
            self._watch()
            self._look()

    def drop(self, agent_id: str) -> None:
        """Forget an agent; steps that wait are not run."""
        with self._turn:
            agent = self.agents.pop(agent_id, None)
            if agent is None:
                return
            agent.worker.agents.pop(agent_id, None)
            agent.worker.orders.append([agent.number, agent_id])
            for _, step in agent.waiting:
                self._refuse(step, removed(step))
            self._look()

    def submit(self, step: Step) -> None:
        """Take a step. An idle worker is sent it at once, others get it with what else there is by then."""
        with self._turn:
            agent = self.agents.get(step.agent_id)
            if self._failure is not None or agent is None:
                self._refuse(step, self._failure or _unknown(step))
                return
            if agent.broken:
                self._refuse(step, AgentCrashed(step.agent_id, agent.broken))
                return
            step.recall = self._recall
            worker = agent.worker
            worker.wait(step)
            if worker.up and len(worker.flying) < self._limits.threads:
                self._pump(worker)
            else:
                self._look()

    def _recall(self, step: Step) -> bool:
        """Keep a step from being begun, and take it; False if its worker is in it, or about to be."""
        with self._turn:
            agent = self.agents.get(step.agent_id)
            if agent is None or step.number not in agent.worker.flying or self._ledger is None:
                return not step.sent and step.take()  # an answer that is on its way to the caller can't be called back
            self._ledger.cancel(agent.worker.index, step.slot, step.number)
            running = [note.step for note in self._ledger.running(agent.worker.index)]
            return step.number not in running and step.take()

    def _look(self) -> None:
        """Have the loop see to all workers, once for all that comes before it does."""
        if not self._called:
            self._called = True
            self._loop.call_soon_threadsafe(self._look_in_loop)

    def _look_in_loop(self) -> None:
        with self._turn:
            self._called = False
            for worker in self.workers:
                self._pump(worker)

    # -- to the workers --------------------------------------------------------------------------------------------

    def _pump(self, worker: Worker) -> None:
        """Send a worker what it may have now: in one message, or in one for each step without batching."""
        while worker.up and not worker.lost and self._send(worker) and not self._limits.batching:
            pass

    def _send(self, worker: Worker) -> bool:
        """Send a message; False if there was nothing to send, or no room."""
        orders = [] if worker.recycling else self._chosen(worker)
        if not orders and not worker.orders:
            self._renew(worker)
            return False
        linger_us = worker.linger_us if self._limits.batching else 0
        try:
            self._session.tell(worker.name, pack_orders(worker.epoch, linger_us, worker.orders, orders))
        except (ChannelFullError, SessionError) as error:
            for order in orders:
                self._put_back(worker, order.step)
            if isinstance(error, ChannelFullError):
                self._loop.call_soon_threadsafe(self._loop.call_later, _FULL_S, self._look_in_loop)
            return False
        worker.orders.clear()
        return True

    def _put_back(self, worker: Worker, number: int) -> None:
        step = worker.grounded(number)
        agent = self.agents.get(step.agent_id)
        if agent is not None:
            agent.flying -= 1
        worker.wait(step)

    def _chosen(self, worker: Worker) -> list[Order]:
        """Choose the steps to send; after a crash with several suspects, one suspect alone."""
        if worker.suspects:
            return self._suspect(worker)
        batching = self._limits.batching
        ahead = worker.ahead(self._limits.threads) if batching else self._limits.threads
        if batching and len(worker.flying) > int(REFILL * ahead):
            return []
        chosen: list[Order] = []
        size, largest = 0, self._session.plan.runtime.max_message_size // 2 if batching else 1
        while worker.ready and len(worker.flying) < ahead and size < largest:
            _, step = heapq.heappop(worker.ready)
            agent = self.agents.get(step.agent_id)
            if step.decided or agent is None or agent.broken or step.expired:
                self._not_sent(step, agent)
            elif agent.flying >= agent.window:
                heapq.heappush(agent.waiting, (step.rank, step))
            else:
                size += 1 + len(step.load)
                chosen.append(worker.send(step, agent))
                if step.timeout is not None:
                    self._watch()
        return chosen

    def _suspect(self, worker: Worker) -> list[Order]:
        while worker.suspects and not worker.flying:
            step = worker.suspects.pop(0)
            agent = self.agents.get(step.agent_id)
            if agent is not None and not step.decided:
                return [worker.send(step, agent)]
            self._not_sent(step, agent)
        return []

    def _not_sent(self, step: Step, agent: Agent | None) -> None:
        if agent is not None and agent.broken:
            self._refuse(step, AgentCrashed(step.agent_id, agent.broken))
        else:
            late = StepExpired(step.agent_id, "the step's deadline passed before it began")
            self._refuse(step, late if agent is not None else removed(step))

    def _renew(self, worker: Worker) -> None:
        """Replace a worker that has done its share, between two steps."""
        if worker.recycling and not worker.flying:
            worker.up = False
            self._loop.call_soon_threadsafe(self._session.renew, worker.name, RECYCLED)


def removed(step: Step) -> AgentError:
    """Make the error of a step whose agent is gone."""
    return AgentError(step.agent_id, "it was removed from the pool")


def _unknown(step: Step) -> PoolError:
    return PoolError(f"the pool has no agent '{step.agent_id}'; add it first")
