"""A pool's workers, agents and waiting steps: which step goes to which worker when, and what becomes of it when a worker ends.

Callers submit from any thread; answers and exits come in the pool's event loop. Whoever comes takes the turn (a lock), and answers
futures only after it, since their callbacks may come back here. A step is answered once: it waits here until its worker
has answered, and what a dead worker has not answered is sent to its successor.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from ringline.agents.gauges import PoolFacts
from ringline.agents.ledger import Ledger
from ringline.agents.pool_engine import RECYCLED, TIMED_OUT, PoolSession, worker_name
from ringline.agents.roster import WINDOW, Agent, Limits, Worker
from ringline.agents.steps import Progress, Step
from ringline.agents.values import unpack
from ringline.agents.wire import KINDS, Order, Row, pack_orders, unpack_answers
from ringline.data import RuntimeData
from ringline.errors import (
    AgentCrashed,
    AgentError,
    ChannelFullError,
    DataError,
    PoolClosedError,
    PoolError,
    SessionError,
    StepExpired,
    StepTimeout,
)  # fmt: skip
from ringline.host.exits import ExitRecord

log = logging.getLogger("ringline.agents")

_LOOK_S: Final = 0.05
_FULL_S: Final = 0.002


class Fleet:
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
        self._lock = threading.RLock()
        self._outcomes: list[Callable[[], None]] = []
        self._called = False
        self._watching = False
        self._failure: Exception | None = None

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Be the only one here; futures are answered after it."""
        with self._lock:
            yield
            outcomes, self._outcomes = self._outcomes, []
        for outcome in outcomes:
            outcome()

    def _answer(self, step: Step, value: Any) -> None:
        self._outcomes.append(lambda: step.answer(value))

    def _refuse(self, step: Step, error: Exception) -> None:
        self._outcomes.append(lambda: step.fail(error))

    # -- life ------------------------------------------------------------------------------------------------------

    def attach(self, session: PoolSession) -> None:
        """Take the session that runs the workers; before it starts them."""
        self._session = session

    def begin(self) -> None:
        """Listen to the workers; in the loop."""
        self._ledger = self._make_ledger()
        for worker in self.workers:
            self._session.listen(worker.name, functools.partial(self._heard, worker))

    def end(self) -> None:
        """Fail what still waits, and whatever comes."""
        self.fail(PoolClosedError("the pool was closed"))
        with self._lock:
            if self._ledger is not None:
                self._ledger.close()
                self._ledger = None

    def fail(self, error: Exception) -> None:
        """Fail every step that is not answered, and those to come."""
        with self._turn():
            self._failure = self._failure or error
            for agent in self.agents.values():
                for step in (agent.made, *(step for _, step in agent.waiting)):
                    self._refuse(step, error)
            for worker in self.workers:
                for step in worker.everything():
                    self._refuse(step, error)

    def facts(self) -> PoolFacts:
        """Count, for all workers and each."""
        with self._lock:
            workers = tuple(worker.facts(self._session.pid(worker.name)) for worker in self.workers)
            return PoolFacts(len(workers), sum(each.waiting for each in workers), self.restored, self.anew, workers)

    # -- what callers ask for --------------------------------------------------------------------------------------

    def add(self, made: Step, target: str, arguments: dict[str, Any]) -> None:
        """Give an agent to the worker that has fewest."""
        with self._turn():
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
        with self._turn():
            agent = self.agents.pop(agent_id, None)
            if agent is None:
                return
            agent.worker.agents.pop(agent_id, None)
            agent.worker.orders.append([agent.number, agent_id])
            for _, step in agent.waiting:
                self._refuse(step, _removed(step))
            self._look()

    def submit(self, step: Step) -> None:
        """Take a step. An idle worker is sent it at once, others get it with what else there is by then."""
        with self._turn():
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
        with self._lock:
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
        with self._turn():
            self._called = False
            for worker in self.workers:
                self._pump(worker)

    # -- to the workers --------------------------------------------------------------------------------------------

    def _pump(self, worker: Worker) -> None:
        """Send a worker what it may have now."""
        if not worker.up or worker.lost:
            return
        orders = [] if worker.recycling else self._chosen(worker)
        if not orders and not worker.orders:
            self._renew(worker)
            return
        try:
            self._session.tell(worker.name, pack_orders(worker.epoch, worker.orders, orders))
        except (ChannelFullError, SessionError) as error:
            for order in orders:
                self._put_back(worker, order.step)
            if isinstance(error, ChannelFullError):
                self._loop.call_soon_threadsafe(self._loop.call_later, _FULL_S, self._look_in_loop)
            return
        worker.orders.clear()

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
        ahead = worker.ahead(self._limits.threads)
        if len(worker.flying) > ahead // 2:
            return []
        chosen: list[Order] = []
        size, largest = 0, self._session.plan.runtime.max_message_size // 2
        while worker.ready and len(worker.flying) < ahead and size < largest:
            _, step = heapq.heappop(worker.ready)
            agent = self.agents.get(step.agent_id)
            if step.decided or agent is None or agent.broken or step.expired:
                self._not_sent(step, agent)
            elif agent.flying >= agent.window:
                heapq.heappush(agent.waiting, (step.rank, step))
            else:
                size += len(step.load)
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
            self._refuse(step, late if agent is not None else _removed(step))

    def _renew(self, worker: Worker) -> None:
        """Replace a worker that has done its share, between two steps."""
        if worker.recycling and not worker.flying:
            worker.up = False
            self._loop.call_soon_threadsafe(self._session.renew, worker.name, RECYCLED)

    # -- from the workers ------------------------------------------------------------------------------------------

    def _heard(self, worker: Worker, data: RuntimeData) -> None:
        try:
            answers = unpack_answers(data.as_numpy().data)
        except DataError:
            log.exception("answers of worker %s can't be read", worker.name)
            return
        with self._turn():
            for word, *row in answers.said:
                getattr(self, f"_{word}")(worker, *row)
            for each in answers.rows:
                self._outcome(worker, each)
            if answers.epoch == worker.epoch:
                worker.rss = answers.resident
                limits = self._limits
                worker.recycling |= bool(limits.tasks) and worker.tasks >= limits.tasks
                worker.recycling |= bool(limits.rss_bytes) and worker.rss > limits.rss_bytes
            del answers
            data.release()
            self._pump(worker)

    def _outcome(self, worker: Worker, row: Row) -> None:
        step = worker.land(row.step, self.agents)
        if step is None:
            return
        kind = KINDS[row.kind]
        worker.tasks += 1
        worker.outcomes[kind] += 1
        try:
            told: Any = unpack(row.blob) if kind not in ("expired", "cancelled") else None
        except DataError as problem:  # this step's; the others of the batch have their answers
            self._refuse(step, AgentError(step.agent_id, f"its answer can't be read: {problem}"))
            return
        if kind == "done":
            worker.observe(row.busy_us)
            self._answer(step, told)
        elif kind == "expired":
            self._refuse(step, StepExpired(step.agent_id, "the step's deadline passed before it began"))
        elif kind == "cancelled":
            self._outcomes.append(step.withdraw)  # `cancel` may have seen it as begun, while the worker saw the mark
        else:
            worker.observe(row.busy_us)
            error, trace = told
            self._refuse(step, AgentError(step.agent_id, error, trace))

    def _progress(self, worker: Worker, number: int, fraction: float, message: str) -> None:
        step = worker.flying.get(number)
        if step is not None:
            step.progress = Progress(fraction, message)

    def _added(self, worker: Worker, agent_id: str, made: dict[str, bool]) -> None:
        agent = self.agents.get(agent_id)
        if agent is None or agent.worker is not worker:
            return
        worker.making.discard(agent.made.number)
        agent.window = 1 if made["keeps"] else WINDOW
        if agent.lived:
            self.restored += made["restored"]
            self.anew += not made["restored"]
            if not made["restored"]:
                log.warning("agent %s starts anew: its worker ended, and it keeps no snapshot", agent_id)
        agent.lived = True
        self._answer(agent.made, None)

    def _refused(self, worker: Worker, agent_id: str, error: str, trace: str) -> None:
        agent = self.agents.get(agent_id)
        if agent is not None:
            worker.making.discard(agent.made.number)
            self._refuse(agent.made, AgentError(agent_id, error, trace))

    # -- the end of a worker, in the loop --------------------------------------------------------------------------

    def worker_up(self, name: str, epoch: int) -> None:
        """Take a new incarnation: it gets its agents, then their steps."""
        with self._turn():
            worker = self._by_name[name]
            worker.epoch, worker.up, worker.recycling, worker.tasks = epoch, True, False, 0
            worker.orders.clear()
            worker.making.clear()
            for agent in worker.agents.values():
                worker.introduce(agent)
            self._watch()
            self._pump(worker)

    def worker_ended(self, record: ExitRecord) -> None:
        """Read the last answers of a dead worker, then decide what becomes of the steps that it did not answer."""
        worker = self._by_name[record.node_id]
        with self._lock:
            worker.up = False
            worker.restarts += 1
            worker.ends[record.reason] += 1
        if record.expected or self._ledger is None:
            return
        self._session.hand_out(worker.name)
        with self._turn():
            noted = {note.step for note in self._ledger.running(worker.index)}
            self._ledger.clear(worker.index)
            blamed = record.reason not in (RECYCLED, TIMED_OUT)
            guilty = noted & worker.flying.keys() if blamed else set()
            if blamed and not guilty:
                self._break(worker, noted, f"its worker ended when it was made: {record.reason}, {record.message}")
            for number in list(worker.flying):
                self._put_back_or_blame(worker, number, guilty, record)
            if worker.lost:
                self._move(worker)

    def _break(self, worker: Worker, made: set[int], why: str) -> None:
        """Never again make the agent that was in the making when it went wrong, so that the others can live on."""
        for agent in worker.agents.values():
            if agent.made.number in made and agent.made.number in worker.making:
                agent.broken = why
                log.error("agent %s can't be made: %s", agent.agent_id, why)
                for step in (agent.made, *(step for _, step in agent.waiting)):
                    self._refuse(step, AgentCrashed(agent.agent_id, why))
                agent.waiting.clear()

    def _put_back_or_blame(self, worker: Worker, number: int, guilty: set[int], record: ExitRecord) -> None:
        step = worker.grounded(number)
        agent = self.agents.get(step.agent_id)
        if agent is not None:
            agent.flying -= 1
            for each in agent.waiting:  # nothing of the agent may land any more that would let them follow
                heapq.heappush(worker.ready, each)
            agent.waiting.clear()
        if number not in guilty:
            worker.wait(step)
        elif len(guilty) > 1:
            step.suspect = True
            worker.suspects.append(step)  # one of them; each is tried again alone
        else:
            worker.outcomes["crashed"] += 1
            text = f"its worker ended in this step: {record.reason}, {record.message}"
            self._refuse(step, AgentCrashed(step.agent_id, text))

    def worker_lost(self, error: BaseException) -> bool:
        """Take note that a worker does not come back; True if there is no other one: then the pool fails."""
        with self._turn():
            for worker in self.workers:
                if not worker.lost and self._session.gone(worker.name):
                    worker.up, worker.lost = False, True
                    self._move(worker)
            over = all(worker.lost for worker in self.workers)
        if over:
            self.fail(PoolClosedError(f"the pool has lost its last worker: {error}"))
        return over

    def _move(self, worker: Worker) -> None:
        """Give the agents and steps of a lost worker to the others."""
        others = [each for each in self.workers if not each.lost]
        if not others:
            return
        for agent in worker.agents.values():
            agent.worker = min(others, key=lambda each: len(each.agents))
            agent.worker.agents[agent.agent_id] = agent
            agent.worker.introduce(agent)
        worker.agents = {}
        left = [*worker.suspects, *(step for _, step in worker.ready)]
        worker.suspects, worker.ready = [], []
        for step in left:
            heir = self.agents.get(step.agent_id)
            if heir is None:
                self._refuse(step, _removed(step))
            else:
                heir.worker.wait(step)
        self._look()

    # -- steps that run too long -----------------------------------------------------------------------------------

    def _watch(self) -> None:
        if not self._watching and self._failure is None:
            self._watching = True
            self._loop.call_soon_threadsafe(self._loop.call_later, _LOOK_S, self._look_at_clocks_in_loop)

    def _look_at_clocks_in_loop(self) -> None:
        """End workers whose step runs longer than it may; look again while there are steps with a limit."""
        with self._turn():
            self._watching = False
            if self._ledger is None:
                return  # the pool is being closed
            for worker in self.workers:
                limited = [step for step in worker.flying.values() if step.timeout is not None]
                if limited or worker.making:
                    self._watch()
                    if worker.up:
                        self._end_late(worker, limited)

    def _end_late(self, worker: Worker, limited: list[Step]) -> None:
        assert self._ledger is not None
        began = dict(self._ledger.running(worker.index))
        now = time.monotonic_ns()
        slow = {number for number in worker.making if now - began.get(number, 1 << 62) > self._limits.init_s * 1e9}
        if slow:
            self._break(worker, slow, f"its making took longer than init_timeout, {self._limits.init_s:g}s")
            worker.up = False
        for step in limited:
            assert step.timeout is not None
            if now - began.get(step.number, 1 << 62) > step.timeout * 1e9:
                worker.land(step.number, self.agents)
                worker.outcomes["timeout"] += 1
                text = f"a step ran longer than its timeout of {step.timeout:g}s"
                self._refuse(step, StepTimeout(step.agent_id, text))
                worker.up = False
        if not worker.up:
            self._session.renew(worker.name, TIMED_OUT)


def _removed(step: Step) -> AgentError:
    return AgentError(step.agent_id, "it was removed from the pool")


def _unknown(step: Step) -> PoolError:
    return PoolError(f"the pool has no agent '{step.agent_id}'; add it first")
