"""What stands behind `AgentPool`: processes (`Remote`, executors process and hybrid), or this process (`local.Local`).

`AgentPool` starts one, gives it agents and steps, and closes it. A `Remote` has an event loop in a thread of its own, so that a pool
is used alike from plain code, from threads and from any event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from ringline.agents.fleet import Fleet
from ringline.agents.gauges import PoolFacts
from ringline.agents.ledger import Ledger
from ringline.agents.outbox import HEADROOM
from ringline.agents.pool_engine import PoolSession, plan_of
from ringline.agents.roster import Limits
from ringline.agents.state import SharedState
from ringline.agents.steps import Step
from ringline.agents.values import pack
from ringline.agents.worker import LEDGER_FILE, STATE_FILE
from ringline.errors import MessageTooLargeError

log = logging.getLogger("ringline.agents")


class Backend(Protocol):
    """Who runs agents."""

    state: SharedState

    def start(self) -> None: ...
    def carry(self, observation: Any) -> Any: ...
    def add(self, made: Step, target: str, arguments: dict[str, Any]) -> None: ...
    def drop(self, agent_id: str) -> None: ...
    def submit(self, step: Step) -> None: ...
    def facts(self) -> PoolFacts: ...
    def close(self) -> None: ...


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
        self._loop = asyncio.new_event_loop()
        self._fleet = Fleet(workers, limits, self._loop, lambda: Ledger(self._session.directory / LEDGER_FILE, workers))
        self._workers = workers
        self._max_restarts = max_restarts
        self._state_bytes = state_bytes
        self._thread = threading.Thread(target=self._serve, name="ringline-pool", daemon=True)
        self._started: Future[None] = Future()
        self._over = asyncio.Event()

    def start(self) -> None:
        """Start the workers; returns when all are ready. Raises what a session's start raises."""
        self._thread.start()
        try:
            self._started.result()
        except BaseException:
            self._thread.join()
            raise

    def carry(self, observation: Any) -> Any:
        """Pack an observation. Raises `DataError` for one that can't be sent, `MessageTooLargeError` for one that is too large."""
        packed = pack(observation)
        largest = self._plan.runtime.max_message_size - HEADROOM
        if len(packed) > largest:
            raise MessageTooLargeError(
                f"a value of {len(packed)} bytes can't be sent: at most {largest}; raise max_message_size of the pool"
            )
        return packed

    def add(self, made: Step, target: str, arguments: dict[str, Any]) -> None:
        """Have an agent made."""
        self.carry(arguments)
        self._fleet.add(made, target, arguments)

    def drop(self, agent_id: str) -> None:
        """Have an agent forgotten."""
        self._fleet.drop(agent_id)

    def submit(self, step: Step) -> None:
        """Send a step, or queue it."""
        self._fleet.submit(step)

    def facts(self) -> PoolFacts:
        """Count, for all workers and each."""
        return self._fleet.facts()

    def close(self) -> None:
        """End the workers and free everything; also after the loop has ended by itself."""
        with contextlib.suppress(RuntimeError):  # it is closed already
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

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
        self._session = PoolSession(self._plan, self._fleet, self._max_restarts, self._share, _line)
        self._fleet.attach(self._session)
        try:
            await self._session.initialize()
            self._fleet.begin()
            await self._session.start()
            self._started.set_result(None)
            await self._over.wait()
        finally:
            self._fleet.end()
            if "state" in vars(self):
                self.state.close()
            await self._session.close()

    def _share(self, directory: Path) -> None:
        """Make what the workers share, in the session's directory."""
        self.state = SharedState.create(directory / STATE_FILE, size_bytes=self._state_bytes)
        Ledger(directory / LEDGER_FILE, self._workers, create=True).close()


def _line(worker: str, stream: str, line: str) -> None:
    log.info("%s", line, extra={"worker": worker, "stream": stream})
