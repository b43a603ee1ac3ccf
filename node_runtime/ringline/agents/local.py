"""Agents in this process: in the caller's own thread (executor inline), or in threads (executor thread)."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Awaitable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from ringline.agents.gauges import PoolFacts, WorkerFacts
from ringline.agents.hands import Hands
from ringline.agents.roster import Worker
from ringline.agents.stage import UNMADE, Stage, failed
from ringline.agents.state import SharedState
from ringline.agents.steps import Progress, Step
from ringline.agents.values import copied
from ringline.agents.worker import STATE_FILE
from ringline.errors import AgentError, PoolClosedError, StepExpired, StepTimeout

log = logging.getLogger("ringline.agents")

_PATIENCE_S: Final = 5.0
"""With steps in work when the pool is closed."""
_MANY: Final = 500


class Local:
    """A backend without processes. Values are copied as if they were sent, so that an agent behaves alike everywhere."""

    def __init__(self, threads: int, state_bytes: int) -> None:
        self._state_bytes = state_bytes
        self._hands: Hands[Step] | None = Hands(threads, self._run) if threads else None
        self._lock = threading.Lock()
        self._agents: set[str] = set()
        self._size = max(1, threads)
        self._counts = Worker(0, "w0")
        self._busy_us: deque[int] = deque()
        """How long steps took that are done and not counted yet."""

    def start(self) -> None:
        """Make the shared state, which here only its agents share."""
        self._folder = Path(tempfile.mkdtemp(prefix="ringline-agents-"))
        self.state = SharedState.create(self._folder / STATE_FILE, size_bytes=self._state_bytes)
        self._stage = Stage(self.state, self, copied, keeps=False)

    carry = staticmethod(copied)
    """Copies an observation. Raises `DataError` for one that could not be sent."""

    def add(self, made: Step, target: str, arguments: dict[str, Any]) -> None:
        """Make an agent, now."""
        values = copied(arguments)
        self._agents.add(made.agent_id)
        try:
            self._stage.add(made.agent_id, target, values, again=False)
        except (Exception, SystemExit) as error:
            found = failed(error)
            made.fail(AgentError(made.agent_id, found.error, found.traceback))
        else:
            made.answer(None)

    def drop(self, agent_id: str) -> None:
        """Forget an agent; its steps that wait fail."""
        self._agents.discard(agent_id)
        self._stage.drop(agent_id)

    def submit(self, step: Step) -> None:
        """Run a step, or queue it behind the agent's others."""
        if self._hands is None:
            self._run(step, 0, time.monotonic_ns())
        else:
            self._hands.put(step.agent_id, step.rank, step)

    def facts(self) -> PoolFacts:
        """Count."""
        waiting = self._hands.waiting if self._hands is not None else 0
        self._count()
        with self._lock:
            counts = self._counts
            outcomes, latency = dict(counts.outcomes), tuple(counts.histogram)
            worker = WorkerFacts("w0", None, len(self._agents), outcomes, {}, 0, latency, counts.busy_s, waiting)
        return PoolFacts(self._size, waiting, 0, 0, (worker,))

    def close(self) -> None:
        """End the threads after the steps in work, and fail those that wait; a step that never ends is its pool's to fail."""
        if self._hands is not None:
            for step in self._hands.close():
                step.fail(PoolClosedError("the pool was closed"))
            self._hands.join(_PATIENCE_S)
        for step in self._stage.at_work:
            labels = {"agent_id": step.agent_id}
            log.warning(
                "agent %s never ended its step: a thread can't be ended, so it stays", step.agent_id, extra=labels
            )
        self.state.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, step: Step, _: int, began_ns: int) -> None:
        if step.deadline_ns and step.expired:
            step.fail(StepExpired(step.agent_id, "the step's deadline passed before it began"))
        if not step.begin():
            return
        clock = None if step.timeout is None else self._clock(step, step.timeout)
        outcome = self._stage.step(step, step.agent_id, step.load)
        busy_us = (time.monotonic_ns() - began_ns) // 1000
        if clock is not None:
            clock.cancel()
        if step.timeout is not None and busy_us > step.timeout * 1e6:
            step.fail(_late(step))
        if outcome.kind == "done":
            self._busy_us.append(busy_us)
            if len(self._busy_us) >= _MANY:
                self._count()
            step.answer(outcome.result)
        elif outcome is UNMADE and step.agent_id not in self._agents:
            step.fail(AgentError(step.agent_id, "it was removed from the pool"))
        else:
            with self._lock:
                self._counts.outcomes[outcome.kind] += 1
                self._counts.observe(busy_us)
            step.fail(AgentError(step.agent_id, outcome.error, outcome.traceback))

    def _count(self) -> None:
        """Add up the steps that are done meanwhile: many at once are cheaper than each."""
        with self._lock:
            for _ in range(len(self._busy_us)):
                self._counts.outcomes["done"] += 1
                self._counts.observe(self._busy_us.popleft())

    def _clock(self, step: Step, timeout_s: float) -> threading.Timer | None:
        """Have a step of a thread fail in time; its thread, which nothing can end, goes on."""
        if self._hands is None:
            return None
        clock = threading.Timer(timeout_s, lambda: step.fail(_late(step)))
        clock.daemon = True
        clock.start()
        return clock

    def progressed(self, step: Step, fraction: float, message: str) -> None:
        """Take note of how far a step is."""
        step.progress = Progress(fraction, message)

    def unwanted(self, step: Step) -> bool:
        """Say whether somebody tried to cancel a step in work."""
        return step.unwanted

    def finish(self, result: Awaitable[Any]) -> Any:
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


def _late(step: Step) -> StepTimeout:
    return StepTimeout(step.agent_id, f"a step ran longer than its timeout of {step.timeout:g}s")
