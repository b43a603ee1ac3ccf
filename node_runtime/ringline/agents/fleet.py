"""A pool's workers, agents and waiting steps: which step goes to which worker when, and what becomes of it when a worker ends.

Lives in one event loop, in a thread of the pool's own (`pool`); `pool_engine` runs the processes. A step is answered once: it
waits here until its worker has answered, and what a dead worker has not answered is sent to its successor.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ringline.agents.ledger import Ledger
from ringline.agents.pool_engine import RECYCLED, TIMED_OUT, PoolSupervisor, worker_name
from ringline.agents.steps import Progress, Step
from ringline.agents.values import unpack
from ringline.agents.wire import frame, unframe
from ringline.data import RuntimeData
from ringline.errors import (
    AgentCrashed,
    AgentError,
    ChannelFullError,
    EndOfStream,
    PoolClosedError,
    PoolError,
    RinglineError,
    SessionError,
    StepExpired,
    StepTimeout,
)  # fmt: skip
from ringline.host.exits import ExitRecord

log = logging.getLogger("ringline.agents")

AHEAD_S: Final = 0.02
"""So much work is sent ahead to a worker: enough that it never waits, little enough that priorities count."""
_MOST_AHEAD: Final = 512
_WINDOW: Final = 32
"""Steps of one agent that may be on their way; 1 for an agent with snapshots, so that none is run twice."""
_LOOK_S: Final = 0.05


@dataclass
class Agent:
    """One agent: what it is made of, where it lives, which of its steps are on their way."""

    agent_id: str
    target: str
    arguments: dict[str, Any]
    worker: Worker
    made: Step
    window: int = 1
    flying: int = 0
    lived: bool = False
    waiting: list[tuple[tuple[int, int], Step]] = field(default_factory=list)


@dataclass
class Worker:
    """One worker process over all its incarnations."""

    index: int
    name: str
    epoch: int = 0
    up: bool = False
    lost: bool = False
    recycling: bool = False
    agents: dict[str, Agent] = field(default_factory=dict)
    ready: list[tuple[tuple[int, int], Step]] = field(default_factory=list)
    flying: dict[int, Step] = field(default_factory=dict)
    suspects: list[Step] = field(default_factory=list)
    orders: list[list[Any]] = field(default_factory=list)
    tasks: int = 0
    step_s: float = 0.02
    """Mean time of a step; begins high, so that a worker is not sent much before it is known."""
    rss: int = 0
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """When a worker is renewed (0 = never): after so many steps, or when it holds so many bytes."""

    tasks: int = 0
    rss_bytes: int = 0
    threads: int = 1


class Fleet:
    """All methods belong to the pool's event loop."""

    def __init__(self, workers: int, limits: Limits, ledger: Callable[[], Ledger]) -> None:
        self.workers = [Worker(index, worker_name(index)) for index in range(workers)]
        self.agents: dict[str, Agent] = {}
        self.done = 0
        self.anew = 0
        self.restored = 0
        self._limits = limits
        self._make_ledger = ledger
        self._ledger: Ledger | None = None
        self._engine: PoolSupervisor
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None

    # -- life ------------------------------------------------------------------------------------------------------

    def attach(self, engine: PoolSupervisor) -> None:
        """Take the engine that runs the workers; before it starts them."""
        self._engine = engine

    def begin(self) -> None:
        """Listen to the workers, and look for steps that run too long."""
        self._ledger = self._make_ledger()
        for worker in self.workers:
            self._task(self._listen(worker))
        self._task(self._watch())

    async def end(self) -> None:
        """Stop listening; what still waits fails."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.fail(PoolClosedError("the pool was closed"))
        if self._ledger is not None:
            self._ledger.close()

    def fail(self, error: Exception) -> None:
        """Fail every step that is not answered, and those to come."""
        self._failure = self._failure or error
        for agent in self.agents.values():
            agent.made.fail(error)
        for worker in self.workers:
            for step in [*worker.flying.values(), *worker.suspects, *(step for _, step in worker.ready)]:
                step.fail(error)
        for agent in self.agents.values():
            for _, step in agent.waiting:
                step.fail(error)

    # -- what callers ask for --------------------------------------------------------------------------------------

    def add(self, made: Step, target: str, arguments: dict[str, Any]) -> None:
        """Give an agent to the worker that has fewest."""
        usable = [worker for worker in self.workers if not worker.lost]
        if self._failure is not None or not usable:
            made.fail(self._failure or PoolClosedError("the pool has no workers any more"))
            return
        worker = min(usable, key=lambda each: len(each.agents))
        agent = Agent(made.agent_id, target, arguments, worker, made)
        self.agents[made.agent_id] = worker.agents[made.agent_id] = agent
        self._introduce(agent)
        self._pump(worker)

    def drop(self, agent_id: str) -> None:
        """Forget an agent; steps that wait are not run."""
        agent = self.agents.pop(agent_id, None)
        if agent is None:
            return
        agent.worker.agents.pop(agent_id, None)
        agent.worker.orders.append(["drop", agent_id])
        for _, step in agent.waiting:
            step.fail(AgentError(agent_id, "it was removed from the pool"))
        self._pump(agent.worker)

    def submit(self, steps: list[Step]) -> None:
        """Take steps."""
        touched: dict[int, Worker] = {}
        for step in steps:
            agent = self.agents.get(step.agent_id)
            if self._failure is not None or agent is None:
                step.fail(self._failure or PoolError(f"the pool has no agent '{step.agent_id}'; add it first"))
                continue
            heapq.heappush(agent.worker.ready, (step.rank, step))
            touched[agent.worker.index] = agent.worker
        for worker in touched.values():
            self._pump(worker)

    # -- to the workers --------------------------------------------------------------------------------------------

    def _introduce(self, agent: Agent) -> None:
        agent.worker.orders.append(["add", agent.agent_id, agent.target, agent.arguments, agent.lived])

    def _pump(self, worker: Worker) -> None:
        """Send a worker what it may have now."""
        if not worker.up or worker.lost:
            return
        steps = [] if worker.recycling else self._chosen(worker)
        if not steps and not worker.orders:
            self._renew(worker)
            return
        orders = [*worker.orders, *(["step", step.number, step.agent_id, step.deadline_ns] for step in steps)]
        blobs = [b""] * len(worker.orders) + [step.blob for step in steps]
        try:
            self._engine.tell(worker.name, frame({"epoch": worker.epoch, "orders": orders}, blobs))
        except ChannelFullError:
            self._put_back(worker, steps)
            asyncio.get_running_loop().call_later(0.002, self._pump, worker)
            return
        except SessionError:
            self._put_back(worker, steps)
            return
        worker.orders.clear()

    def _put_back(self, worker: Worker, steps: list[Step]) -> None:
        for step in steps:
            worker.flying.pop(step.number, None)
            agent = self.agents.get(step.agent_id)
            if agent is not None:
                agent.flying -= 1
            heapq.heappush(worker.ready, (step.rank, step))

    def _chosen(self, worker: Worker) -> list[Step]:
        """Choose the steps to send; after a crash with several suspects, one suspect alone."""
        if worker.suspects:
            return [self._send(worker, worker.suspects.pop(0))] if not worker.flying else []
        ahead = min(_MOST_AHEAD, max(2, 2 * self._limits.threads, int(AHEAD_S * self._limits.threads / worker.step_s)))
        if len(worker.flying) > ahead // 2:
            return []
        chosen: list[Step] = []
        size = 0
        largest = self._engine.plan.runtime.max_message_size // 2
        while worker.ready and len(worker.flying) < ahead and size < largest:
            _, step = heapq.heappop(worker.ready)
            agent = self.agents.get(step.agent_id)
            if agent is None or step.expired:
                error = StepExpired(step.agent_id, "the step's deadline passed before it began")
                step.fail(error if agent is not None else AgentError(step.agent_id, "it was removed from the pool"))
            elif agent.flying >= agent.window:
                heapq.heappush(agent.waiting, (step.rank, step))
            elif step.start():
                size += len(step.blob)
                chosen.append(self._send(worker, step))
        return chosen

    def _send(self, worker: Worker, step: Step) -> Step:
        worker.flying[step.number] = step
        agent = self.agents.get(step.agent_id)
        if agent is not None:
            agent.flying += 1
        return step

    def _renew(self, worker: Worker) -> None:
        """Replace a worker that has done its share, between two steps."""
        if worker.recycling and not worker.flying:
            worker.up = False
            self._engine.crew.end(worker.name, RECYCLED)

    # -- from the workers ------------------------------------------------------------------------------------------

    async def _listen(self, worker: Worker) -> None:
        while True:
            try:
                self._heard(worker, await self._engine.hear(worker.name, None))
            except (EndOfStream, SessionError):
                return
            except RinglineError:
                log.exception("answers of worker %s can't be read", worker.name)
            self._pump(worker)

    def _heard(self, worker: Worker, data: RuntimeData) -> None:
        header, blobs = unframe(data.as_numpy().data)
        for row, blob in zip(header["rows"], blobs, strict=True):
            getattr(self, f"_{row[0]}")(worker, row, blob)
        if header["epoch"] == worker.epoch:
            worker.rss = header["rss"]
            limits = self._limits
            worker.recycling |= bool(limits.tasks) and worker.tasks >= limits.tasks
            worker.recycling |= bool(limits.rss_bytes) and worker.rss > limits.rss_bytes
        del blobs
        data.release()

    def _landed(self, worker: Worker, number: int) -> Step | None:
        """Take a step out of the air; None if it was answered before."""
        step = worker.flying.pop(number, None)
        if step is None:
            return None
        agent = self.agents.get(step.agent_id)
        if agent is not None:
            agent.flying -= 1
            if agent.waiting:
                heapq.heappush(worker.ready, heapq.heappop(agent.waiting))
        worker.tasks += 1
        self.done += 1
        return step

    def _done(self, worker: Worker, row: list[Any], blob: memoryview) -> None:
        worker.step_s += 0.2 * (max(row[2], 1e-6) - worker.step_s)
        step = self._landed(worker, row[1])
        if step is not None:
            step.answer(unpack(blob))

    def _failed(self, worker: Worker, row: list[Any], blob: memoryview) -> None:
        step = self._landed(worker, row[1])
        if step is not None:
            step.fail(AgentError(step.agent_id, row[3], bytes(blob).decode(errors="replace")))

    _unsendable = _failed

    def _expired(self, worker: Worker, row: list[Any], _: memoryview) -> None:
        step = self._landed(worker, row[1])
        if step is not None:
            step.fail(StepExpired(step.agent_id, "the step's deadline passed before it began"))

    def _progress(self, worker: Worker, row: list[Any], _: memoryview) -> None:
        step = worker.flying.get(row[1])
        if step is not None:
            step.progress = Progress(row[2], row[3])

    def _added(self, worker: Worker, row: list[Any], _: memoryview) -> None:
        agent = self.agents.get(row[1])
        if agent is None or agent.worker is not worker:
            return
        agent.window = 1 if row[2]["keeps"] else _WINDOW
        if agent.lived:
            self.restored += row[2]["restored"]
            self.anew += not row[2]["restored"]
            if not row[2]["restored"]:
                log.warning("agent %s starts anew: its worker ended, and it keeps no snapshot", agent.agent_id)
        agent.lived = True
        agent.made.answer(None)

    def _refused(self, _: Worker, row: list[Any], blob: memoryview) -> None:
        agent = self.agents.get(row[1])
        if agent is not None:
            agent.made.fail(AgentError(agent.agent_id, row[2], bytes(blob).decode(errors="replace")))

    # -- the end of a worker ---------------------------------------------------------------------------------------

    def worker_up(self, name: str, epoch: int) -> None:
        """Take a new incarnation: it gets its agents, then their steps."""
        worker = self._worker(name)
        worker.epoch, worker.up, worker.recycling, worker.tasks = epoch, True, False, 0
        worker.orders.clear()
        for agent in worker.agents.values():
            self._introduce(agent)
        self._pump(worker)

    def worker_ended(self, record: ExitRecord) -> None:
        """Take note of a worker's end."""
        worker = self._worker(record.node_id)
        worker.up = False
        worker.restarts += 1
        if not record.expected:
            self._task(self._bury(worker, record))

    async def _bury(self, worker: Worker, record: ExitRecord) -> None:
        """Read the last answers of a dead worker, then decide what becomes of the steps that it did not answer."""
        try:
            while True:
                self._heard(worker, await self._engine.hear(worker.name, 0))
        except (TimeoutError, RinglineError):
            pass
        assert self._ledger is not None
        running = {note.step for note in self._ledger.running(worker.index)} & worker.flying.keys()
        self._ledger.clear(worker.index)
        guilty = running if record.reason not in (RECYCLED, TIMED_OUT) else set()
        for number in list(worker.flying):
            step = worker.flying.pop(number)
            agent = self.agents.get(step.agent_id)
            if agent is not None:
                agent.flying -= 1
                for each in agent.waiting:  # nothing of the agent may land any more that would let them follow
                    heapq.heappush(worker.ready, each)
                agent.waiting.clear()
            if number not in guilty:
                heapq.heappush(worker.ready, (step.rank, step))
            elif len(guilty) > 1:
                step.suspect = True
                worker.suspects.append(step)  # one of them; each is tried again alone
            else:
                step.fail(
                    AgentCrashed(step.agent_id, f"its worker ended in this step: {record.reason}, {record.message}")
                )
        if worker.lost:
            self._move(worker)
        elif worker.up:
            self._pump(worker)

    def worker_lost(self, error: BaseException) -> None:
        """Take note that a worker does not come back; without any other one the pool fails."""
        engine = self._engine
        for worker in self.workers:
            member = engine.crew.members[worker.name]
            if not member.alive and member.state != "restarting" and not worker.lost:
                worker.up, worker.lost = False, True
                self._move(worker)
        if all(worker.lost for worker in self.workers):
            engine.give_in(error)
            self.fail(PoolClosedError(f"the pool has lost its last worker: {error}"))

    def _move(self, worker: Worker) -> None:
        """Give the agents and steps of a lost worker to the others."""
        others = [each for each in self.workers if not each.lost]
        if not others:
            return
        for agent in worker.agents.values():
            agent.worker = min(others, key=lambda each: len(each.agents))
            agent.worker.agents[agent.agent_id] = agent
            self._introduce(agent)
        worker.agents = {}
        left = [*worker.suspects, *(step for _, step in worker.ready)]
        worker.suspects, worker.ready = [], []
        self.submit(left)

    async def _watch(self) -> None:
        """End workers whose step runs longer than it may."""
        while True:
            await asyncio.sleep(_LOOK_S)
            assert self._ledger is not None
            for worker in self.workers:
                limited = [step for step in worker.flying.values() if step.timeout is not None]
                if worker.up and limited:
                    self._end_late(worker, limited)

    def _end_late(self, worker: Worker, limited: list[Step]) -> None:
        assert self._ledger is not None
        began = dict(self._ledger.running(worker.index))
        for step in limited:
            assert step.timeout is not None
            if time.monotonic_ns() - began.get(step.number, 1 << 62) > step.timeout * 1e9:
                self._landed(worker, step.number)
                step.fail(StepTimeout(step.agent_id, f"a step ran longer than its timeout of {step.timeout:g}s"))
                worker.up = False
        if not worker.up:
            self._engine.crew.end(worker.name, TIMED_OUT)

    def _worker(self, name: str) -> Worker:
        return next(worker for worker in self.workers if worker.name == name)

    def _task(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work, name="ringline-fleet")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
