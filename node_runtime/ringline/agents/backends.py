"""What stands behind `AgentPool`: processes (executors process and hybrid), or this process (inline and thread).

`AgentPool` starts one, gives it agents and steps, and closes it. A `Remote` has an event loop in a thread of its own, so that a pool
is used alike from plain code, from threads and from any event loop.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Awaitable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from ringline.agents.fleet import Fleet, Limits
from ringline.agents.ledger import Ledger
from ringline.agents.pool_engine import PoolSupervisor, plan_of
from ringline.agents.stage import Outcome, Stage, failed
from ringline.agents.state import SharedState
from ringline.agents.steps import Progress, Step
from ringline.agents.values import unpack
from ringline.agents.worker import LEDGER_FILE, STATE_FILE
from ringline.errors import AgentError, PoolClosedError, StepExpired

log = logging.getLogger("ringline.agents")


class Backend(Protocol):
    """Who runs agents."""

    state: SharedState

    def start(self) -> None: ...
    def add(self, made: Step, target: str, arguments: dict[str, Any]) -> None: ...
    def drop(self, agent_id: str) -> None: ...
    def submit(self, step: Step) -> None: ...
    def numbers(self) -> dict[str, Any]: ...
    def close(self) -> None: ...


class Local:
    """Agents in this process: in the caller's own thread (`threads` 0), or in threads."""

    def __init__(self, threads: int, state_bytes: int) -> None:
        self._threads = threads
        self._state_bytes = state_bytes
        self._steps: dict[int, Step] = {}
        self._lines: dict[str, deque[Step]] = {}
        self._ready: queue.PriorityQueue[tuple[tuple[float, int], str]] = queue.PriorityQueue()
        self._lock = threading.Lock()
        self._workers: list[threading.Thread] = []
        self._done = 0
        self._closed = False

    def start(self) -> None:
        """Make the shared state, which here only its agents share, and the threads."""
        self._folder = Path(tempfile.mkdtemp(prefix="ringline-agents-"))
        self.state = SharedState.create(self._folder / STATE_FILE, size_bytes=self._state_bytes)
        self._stage = Stage(self.state, _run, self._progressed)
        for number in range(self._threads):
            thread = threading.Thread(target=self._work, name=f"agents-{number}", daemon=True)
            self._workers.append(thread)
            thread.start()

    def add(self, made: Step, target: str, arguments: dict[str, Any]) -> None:
        """Make an agent, now."""
        try:
            self._stage.add(made.agent_id, target, arguments, again=False)
        except Exception as error:
            found = failed(error)
            made.fail(AgentError(made.agent_id, found.error, found.traceback))
        else:
            made.start()
            made.answer(None)

    def drop(self, agent_id: str) -> None:
        """Forget an agent."""
        self._stage.drop(agent_id)

    def submit(self, step: Step) -> None:
        """Run a step, or queue it behind the agent's others."""
        if not self._threads:
            self._run(step)
            return
        with self._lock:
            line = self._lines.setdefault(step.agent_id, deque())
            line.append(step)
            if len(line) > 1:
                return
        self._ready.put((step.rank, step.agent_id))

    def numbers(self) -> dict[str, Any]:
        """Count."""
        return {"workers": self._threads, "steps": self._done, "restarts": 0, "restored": 0, "anew": 0, "pids": []}

    def close(self) -> None:
        """End the threads after the steps in work, and fail those that wait."""
        self._closed = True
        for _ in self._workers:
            self._ready.put(((float("inf"), 0), ""))
        for thread in self._workers:
            thread.join()
        for line in self._lines.values():
            for step in line:
                step.fail(PoolClosedError("the pool was closed"))
        self.state.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _work(self) -> None:
        while True:
            _, agent_id = self._ready.get()
            if not agent_id or self._closed:
                return
            with self._lock:
                line = self._lines[agent_id]
                step = min(line, key=lambda each: each.rank)
            self._run(step)
            with self._lock:
                line.remove(step)
                if not line:
                    del self._lines[agent_id]
                    continue
                following = min(each.rank for each in line)
            self._ready.put((following, agent_id))

    def _run(self, step: Step) -> None:
        if step.expired:
            step.fail(StepExpired(step.agent_id, "the step's deadline passed before it began"))
        if step.done() or not step.start():
            return
        self._steps[step.number] = step
        outcome = self._stage.step(step.number, step.agent_id, step.blob)
        del self._steps[step.number]
        self._done += 1
        settle(step, outcome)

    def _progressed(self, number: int, fraction: float, message: str) -> None:
        if number in self._steps:
            self._steps[number].progress = Progress(fraction, message)


def settle(step: Step, outcome: Outcome) -> None:
    """Answer a step with what became of it."""
    if outcome.kind == "done":
        step.answer(unpack(outcome.result))
    else:
        step.fail(AgentError(step.agent_id, outcome.error, outcome.traceback))


def _run(result: Awaitable[Any]) -> Any:
    """Finish an async agent's step in a thread of its own: the caller's may run a loop already."""
    outcome: Future[Any] = Future()

    async def awaited() -> Any:
        return await result

    def run() -> None:
        try:
            outcome.set_result(asyncio.run(awaited()))
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=run, name="agents-async", daemon=True)
    thread.start()
    thread.join()
    return outcome.result()


class Remote:
    """Agents in worker processes: the nodes of a session."""

    def __init__(
        self,
        workers: int,
        limits: Limits,
        *,
        state_bytes: int,
        max_restarts: int,
        paths: tuple[str, ...],
        options: dict[str, Any],
    ) -> None:
        self._plan = plan_of(workers, limits.threads, paths, options)
        self._fleet = Fleet(workers, limits, lambda: Ledger(self._engine.directory / LEDGER_FILE, workers))
        self._workers = workers
        self._max_restarts = max_restarts
        self._state_bytes = state_bytes
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="ringline-pool", daemon=True)
        self._started: Future[None] = Future()
        self._over = asyncio.Event()
        self._inbox: deque[Step] = deque()
        self._awake = False

    def start(self) -> None:
        """Start the workers; returns when all are ready. Raises what a session's start raises."""
        self._thread.start()
        try:
            self._started.result()
        except BaseException:
            self._thread.join()
            raise

    def add(self, made: Step, target: str, arguments: dict[str, Any]) -> None:
        """Have an agent made."""
        made.start()
        self._call(lambda: self._fleet.add(made, target, arguments))

    def drop(self, agent_id: str) -> None:
        """Have an agent forgotten."""
        self._call(lambda: self._fleet.drop(agent_id))

    def submit(self, step: Step) -> None:
        """Queue a step; the loop is woken once for all that come before it looks."""
        self._inbox.append(step)
        if not self._awake:
            self._awake = True
            self._call(self._take)

    def numbers(self) -> dict[str, Any]:
        """Count, for all workers and each."""
        fleet = self._fleet
        return {
            "workers": self._workers,
            "steps": fleet.done,
            "restarts": sum(worker.restarts for worker in fleet.workers),
            "restored": fleet.restored,
            "anew": fleet.anew,
            "pids": [self._engine.pid(worker.name) for worker in fleet.workers],
            "rss": [worker.rss for worker in fleet.workers],
            "waiting": sum(len(worker.ready) + len(worker.flying) for worker in fleet.workers),
        }

    def close(self) -> None:
        """End the workers and free everything."""
        self._call(self._over.set)
        self._thread.join()

    def _call(self, work: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:
            raise PoolClosedError("the pool was closed") from None

    def _take(self) -> None:
        self._awake = False
        steps = [self._inbox.popleft() for _ in range(len(self._inbox))]
        self._fleet.submit(steps)

    def _serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._live())
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
            else:
                log.exception("the pool's loop ended")

    async def _live(self) -> None:
        self._engine = engine = PoolSupervisor(self._plan, self._fleet, self._max_restarts, self._share, _line)
        self._fleet.attach(engine)
        try:
            await engine.initialize(None)
            self._fleet.begin()
            await engine.start()
            self._started.set_result(None)
            await self._over.wait()
        finally:
            await self._fleet.end()
            if "state" in vars(self):
                self.state.close()
            await engine.close()

    def _share(self, directory: Path) -> None:
        """Make what the workers share, in the session's directory."""
        self.state = SharedState.create(directory / STATE_FILE, size_bytes=self._state_bytes)
        Ledger(directory / LEDGER_FILE, self._workers, create=True).close()


def _line(worker: str, stream: str, line: str) -> None:
    log.info("%s", line, extra={"worker": worker, "stream": stream})
