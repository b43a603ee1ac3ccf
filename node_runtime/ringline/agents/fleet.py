"""A pool's workers: what comes back from them, and what becomes of steps and agents when one ends or takes too long.

`backends.Remote` uses it. A step is answered once: it waits here until its worker has answered, and what a dead worker has not
answered is sent to its successor. Steps on their way to a worker are `dispatch`'s.
"""

from __future__ import annotations

import functools
import heapq
import logging
import time
from typing import Any, Final

from ringline.agents.dispatch import Dispatch, removed
from ringline.agents.pool_engine import RECYCLED, TIMED_OUT
from ringline.agents.roster import WINDOW, Worker
from ringline.agents.steps import Progress, Step
from ringline.agents.values import unpack
from ringline.agents.wire import KINDS, Row, unpack_answers
from ringline.data import RuntimeData
from ringline.errors import AgentCrashed, AgentError, DataError, PoolClosedError, StepExpired, StepTimeout
from ringline.host.exits import ExitRecord

log = logging.getLogger("ringline.agents")

_LOOK_S: Final = 0.05


class Fleet(Dispatch):
    """Every public method takes the turn itself. What has a loop in its name must run there."""

    def begin(self) -> None:
        """Listen to the workers; in the loop."""
        self._ledger = self._make_ledger()
        for worker in self.workers:
            self._session.listen(worker.name, functools.partial(self._heard, worker))

    # -- from the workers ------------------------------------------------------------------------------------------

    def _heard(self, worker: Worker, data: RuntimeData) -> None:
        try:
            answers = unpack_answers(data.as_numpy().data)
        except DataError:
            log.exception("answers of worker %s can't be read", worker.name, extra={"worker": worker.name})
            return
        with self._turn:
            for said in answers.said:
                self._told(worker, said)
            for each in answers.rows:
                self._outcome(worker, each)
            if answers.epoch == worker.epoch:
                worker.rss, worker.hands = answers.resident, max(1, min(answers.hands, self._limits.threads))
                limits = self._limits
                worker.recycling |= bool(limits.tasks) and worker.tasks >= limits.tasks
                worker.recycling |= bool(limits.rss_bytes) and worker.rss > limits.rss_bytes
            del answers
            data.release()
            self._pump(worker)

    def _told(self, worker: Worker, said: Any) -> None:
        """Take what is no outcome. What can't be understood is left out; the rest of its batch counts."""
        word, *row = said if isinstance(said, list) and said else [None]
        try:
            if word == "progress":
                self._progress(worker, *row)
            elif word == "added":
                self._added(worker, *row)
            elif word == "refused":
                self._refused(worker, *row)
            else:
                raise ValueError("an unknown word")
        except (TypeError, ValueError, KeyError) as error:
            text = "worker %s said %.200r, which can't be understood: %s"
            log.warning(text, worker.name, said, error, extra={"worker": worker.name})

    def _outcome(self, worker: Worker, row: Row) -> None:
        step = worker.land(row.step, self.agents)
        if step is None:
            return
        worker.tasks += 1
        try:
            kind = KINDS[row.kind]
            told: Any = unpack(row.blob) if kind not in ("expired", "cancelled") else None
            error, trace = told if kind in ("failed", "unsendable") else ("", "")
        except (DataError, IndexError, TypeError, ValueError) as problem:
            # This step's trouble; the others of the batch have their answers.
            self._refuse(step, AgentError(step.agent_id, f"its answer can't be read: {problem}"))
            return
        worker.outcomes[kind] += 1
        if kind == "expired":
            self._refuse(step, StepExpired(step.agent_id, "the step's deadline passed before it began"))
            return
        if kind == "cancelled":
            self._turn.after(Step.withdraw, step)  # `cancel` may have seen it begin, while its worker saw the mark
            return
        worker.observe(row.busy_us)
        if kind == "done":
            self._answer(step, told)
        else:
            self._refuse(step, AgentError(step.agent_id, str(error), str(trace)))

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
                log.warning(
                    "agent %s starts anew: its worker ended, and it keeps no snapshot",
                    agent_id,
                    extra={"agent_id": agent_id, "worker": worker.name},
                )
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
        with self._turn:
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
        with self._turn:
            worker.up = False
            worker.restarts += 1
            worker.ends[record.reason] += 1
        if record.expected or self._ledger is None:
            return
        self._session.hand_out(worker.name)
        with self._turn:
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
                labels = {"agent_id": agent.agent_id, "worker": worker.name}
                log.error("agent %s can't be made: %s", agent.agent_id, why, extra=labels)
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
            labels = {
                "agent_id": step.agent_id,
                "worker": worker.name,
                "pid": record.pid,
                "exit_code": record.exit_code,
            }
            log.error("a step of agent %s has ended its worker: %s", step.agent_id, record.reason, extra=labels)
            self._refuse(step, AgentCrashed(step.agent_id, text))

    def worker_lost(self, error: BaseException) -> bool:
        """Take note that a worker does not come back; True if there is no other one: then the pool fails."""
        with self._turn:
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
                self._refuse(step, removed(step))
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
        with self._turn:
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
                labels = {"agent_id": step.agent_id, "worker": worker.name, "timeout": step.timeout}
                log.warning("a step of agent %s takes too long: its worker is killed", step.agent_id, extra=labels)
                self._refuse(step, StepTimeout(step.agent_id, text))
                worker.up = False
        if not worker.up:
            self._session.renew(worker.name, TIMED_OUT)
