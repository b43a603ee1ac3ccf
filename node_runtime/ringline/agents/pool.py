"""`AgentPool`: many agents on few processes or threads, for plain code (`submit`, futures) and for asyncio (`await step`).

Applications use it; `backends` runs the agents. An agent is named by ``module:Class`` with JSON arguments, lives in one worker,
and does one step after the other.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Literal, Self

from ringline.agents.auto import Choice, choose
from ringline.agents.backends import Backend, Remote
from ringline.agents.gauges import PoolFacts
from ringline.agents.ledger import THREADS
from ringline.agents.local import Local
from ringline.agents.metrics import PoolCollector
from ringline.agents.roster import Limits
from ringline.agents.state import DEFAULT_BYTES, SharedState
from ringline.agents.steps import Step
from ringline.errors import DataError, MessageTooLargeError, PoolClosedError, PoolError, PoolFullError
from ringline.host.threads import in_thread
from ringline.metrics.server import MetricsServer

Executor = Literal["inline", "thread", "process", "hybrid", "auto"]
EXECUTORS: Final = ("inline", "thread", "process", "hybrid", "auto")
IO_THREADS: Final = 20
"""Threads per worker of a hybrid pool, and of a thread pool: agents that wait for a database or a socket use no core."""
MOST_WORKERS: Final = 31
"""A session has 32 nodes at most, and one of them is the host."""
_LONGEST_ID: Final = 150


class AgentPool:
    """A pool of agents. A context manager, plain or async; nothing is started before `start` (or ``with``).

    `executor`: "inline" (here, in the caller's thread: breakpoints work), "thread", "process" (`workers` processes, one step
    at a time each), "hybrid" (`workers` processes with `threads` threads each), "auto" (measures a few steps, chooses, and says
    why in `choice`). `workers`: default one per core, at most 31. `max_tasks_per_worker`, `max_rss_mb`: a worker is renewed
    after so many steps, or when it holds so much memory (0 = never). `memory_limit_mb`: one that holds more is killed. `max_pending`: steps that
    may wait. `max_restarts`: how often a worker may die within ten minutes. `state_bytes`: room for shared state.
    `init_timeout`: seconds that the making of an agent may take. `max_message_size`: bytes of the largest observation or result.
    `batching`: several steps and answers travel in one message where many wait (off: each in its own, none ahead of its turn).
    `paths`: folders for imports of agents' modules. `metrics_port`: serve Prometheus metrics on 127.0.0.1 there (0: a free port,
    see `metrics_port`), with the label `pool` = `name`; `collector()` is for a registry of your own.
    """

    def __init__(
        self,
        executor: Executor = "auto",
        *,
        workers: int | None = None,
        threads: int = IO_THREADS,
        max_tasks_per_worker: int = 0,
        max_rss_mb: float = 0,
        memory_limit_mb: int | None = None,
        max_pending: int = 100_000,
        max_restarts: int = 20,
        init_timeout: float = 60.0,
        max_message_size: int = 4 << 20,
        batching: bool = True,
        state_bytes: int = DEFAULT_BYTES,
        paths: Iterable[str] = (),
        name: str = "agents",
        metrics_port: int | None = None,
    ) -> None:
        if executor not in EXECUTORS:
            raise PoolError(f"executor '{executor}' is unknown; choose one of {', '.join(EXECUTORS)}")
        self.executor = executor
        self.workers = min(MOST_WORKERS, len(os.sched_getaffinity(0))) if workers is None else workers
        check_numbers(
            workers=(self.workers, 1, MOST_WORKERS),
            threads=(threads, 1, THREADS),
            max_tasks_per_worker=(max_tasks_per_worker, 0, None),
            max_rss_mb=(max_rss_mb, 0, None),
            max_pending=(max_pending, 1, None),
            max_restarts=(max_restarts, 0, None),
            state_bytes=(state_bytes, 1, 1 << 30),
            max_message_size=(max_message_size, 1 << 17, 64 << 20),
            init_timeout=(init_timeout, 0, None),
        )
        self.choice: Choice | None = None
        self.max_pending = max_pending
        self._threads = threads
        self._limits = Limits(max_tasks_per_worker, int(max_rss_mb * (1 << 20)), 1, init_timeout, batching)
        self._max_restarts, self._state_bytes, self._paths = max_restarts, state_bytes, tuple(map(str, paths))
        self._options: dict[str, Any] = {"max_message_size": max_message_size}
        if memory_limit_mb is not None:
            check_numbers(memory_limit_mb=(memory_limit_mb, 1, None))
            self._options["memory_limit_mb"] = memory_limit_mb
        self._backend: Backend | None = None
        self._agents: dict[str, tuple[str, str, dict[str, Any]]] = {}
        """Ids, classes and arguments, by id: steps share their agent's own id, which is quicker to look up than an equal one."""
        self._pending: set[Step] = set()
        self._answered = self._pending.discard
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._state = "new"
        self.name = name
        self.metrics_port = metrics_port
        self._metrics: MetricsServer | None = None

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the workers and wait until they are ready. A pool is started once."""
        self._check("new")
        self._state = "open"
        if self.metrics_port is not None:
            self._metrics = MetricsServer(self.collector(), self.metrics_port)
            self.metrics_port = self._metrics.port
        try:
            if self.executor != "auto":
                self._backend = self._made(self.executor)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End the workers; what still waits fails with `PoolClosedError`. Idempotent."""
        if os.getpid() != self._pid:
            return  # the workers are the parent's
        with self._lock:
            self._state, before = "closed", self._state
        if before == "open" and self._metrics is not None:
            self._metrics.close()
        if before == "open" and self._backend is not None:
            self._backend.close()
            for step in list(self._pending):
                step.fail(PoolClosedError("the pool was closed"))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        await in_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await in_thread(self.close)

    # -- agents ----------------------------------------------------------------------------------------------------

    def add(self, agent_id: str, target: str, arguments: Mapping[str, Any] | None = None) -> Step:
        """Add an agent: ``module:Class`` and the JSON arguments of its constructor. The future is done when it is made.

        Steps may be submitted at once. Raises `PoolError` for an id that exists; the future, `AgentError` if it can't be made.
        """
        self._check("open")
        values = dict(arguments or {})
        if not isinstance(agent_id, str) or not 1 <= len(agent_id.encode(errors="replace")) <= _LONGEST_ID:
            raise PoolError(f"an agent's id is a text of 1 to {_LONGEST_ID} bytes, not {agent_id!r:.40}")
        if not isinstance(target, str):
            raise PoolError(f"agent '{agent_id}': name its class as a text module:Class, not {target!r:.40}")
        with self._lock:
            if agent_id in self._agents:
                raise PoolError(f"the pool has an agent '{agent_id}' already; choose another id or remove that one")
            self._agents[agent_id] = (agent_id, target, values)
        made = Step(agent_id, None)
        if self._backend is None:
            made.answer(None)  # auto: made where the first step says
        else:
            try:
                self._backend.add(made, target, values)
            except (DataError, MessageTooLargeError) as error:
                self._agents.pop(agent_id, None)
                raise type(error)(f"agent '{agent_id}': its arguments: {error}") from None
        return made

    def remove(self, agent_id: str) -> None:
        """Remove an agent; its steps that wait fail. Raises `PoolError` for an unknown id."""
        self._check("open")
        with self._lock:
            if self._agents.pop(agent_id, None) is None:
                raise self._unknown(agent_id)
        if self._backend is not None:
            self._backend.drop(agent_id)

    def submit(
        self,
        agent_id: str,
        observation: Any = None,
        *,
        priority: float = 0,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Step:
        """Have an agent do a step; the future gives its result.

        `priority`: a higher one goes first. `timeout`: seconds that the step may run, else the future raises `StepTimeout`
        and its worker is killed (a thread can't be: it goes on). `deadline`: seconds from now after which it is not begun any more (`StepExpired`).
        The future raises `AgentError` with the worker's traceback. Raises `DataError`, `MessageTooLargeError`, `PoolError`, `PoolFullError`, `PoolClosedError`.
        """
        if self._state != "open" or os.getpid() != self._pid:
            self._check("open")
        known = self._agents.get(agent_id)
        if known is None:
            raise self._unknown(agent_id)
        if priority or timeout is not None or deadline is not None:
            _check_options(priority, timeout, deadline)
        if len(self._pending) >= self.max_pending:
            raise PoolFullError(
                f"{self.max_pending} steps wait already (max_pending); submit slower, or await the steps"
            )
        backend = self._backend or self._decided(agent_id, observation)
        try:
            step = Step(known[0], backend.carry(observation), priority, timeout, deadline)
        except (DataError, MessageTooLargeError) as error:
            raise type(error)(f"agent '{agent_id}': {error}") from None
        self._pending.add(step)
        step.left = self._answered
        try:
            backend.submit(step)
        except RuntimeError:  # its event loop was closed meanwhile
            step.fail(PoolClosedError("the pool was closed"))
        if self._state == "closed":  # perhaps too late for `close` to have seen the step
            step.fail(PoolClosedError("the pool was closed"))
        return step

    async def step(self, agent_id: str, observation: Any = None, **options: Any) -> Any:
        """Do a step and give its result; waits while too many are pending. The options are those of `submit`."""
        loop = asyncio.get_running_loop()
        if self._loop is not None and loop is not self._loop:
            raise PoolError("this pool belongs to another event loop; use pool.submit(), whose futures work anywhere")
        while len(self._pending) >= self.max_pending:
            await self._room(loop)
        return await asyncio.wrap_future(self.submit(agent_id, observation, **options))

    async def _room(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until one of the pending steps is answered."""
        answered = asyncio.Event()
        for step in list(self._pending)[:1]:
            step.add_done_callback(lambda _: loop.call_soon_threadsafe(answered.set))
            await answered.wait()

    def map(self, steps: Iterable[tuple[str, Any]], **options: Any) -> list[Any]:
        """Do many steps, (agent id, observation) each, and give their results in order; raises the first error."""
        return [step.result() for step in [self.submit(agent_id, seen, **options) for agent_id, seen in steps]]

    # -- what it shows ---------------------------------------------------------------------------------------------

    @property
    def agents(self) -> list[str]:
        """The ids of all agents."""
        return list(self._agents)

    @property
    def state(self) -> SharedState:
        """The state that all agents share."""
        self._check("open")
        if self._backend is None:
            raise PoolError("an auto pool has its shared state from the first step on")
        return self._backend.state

    def statistics(self) -> dict[str, Any]:
        """Count: workers, steps answered, restarts, agents restored or begun anew, pids, bytes per worker, steps waiting."""
        self._check("open")
        facts = self.facts()
        workers = facts.workers
        return {
            "pending": len(self._pending),
            "workers": facts.size,
            "steps": sum(sum(worker.outcomes.values()) for worker in workers),
            "restarts": sum(sum(worker.ends.values()) for worker in workers),
            "restored": facts.restored,
            "anew": facts.anew,
            "pids": [worker.pid for worker in workers if worker.pid is not None],
            "rss": [worker.resident_bytes for worker in workers],
            "waiting": facts.waiting,
        }

    def collector(self) -> PoolCollector:
        """Give a collector of the pool's metrics, for a `prometheus_client.CollectorRegistry`."""
        return PoolCollector(self.name, self.facts)

    def facts(self) -> PoolFacts:
        """Give what is known of the pool and of each worker, as `statistics` and the metrics show it."""
        return self._backend.facts() if self._backend is not None else PoolFacts(0, 0, 0, 0, ())

    # -- inner -----------------------------------------------------------------------------------------------------

    def _made(self, executor: str) -> Backend:
        backend: Backend
        if executor in ("inline", "thread"):
            backend = Local(self._threads if executor == "thread" else 0, self._state_bytes)
        else:
            limits = replace(self._limits, threads=self._threads if executor == "hybrid" else 1)
            backend = Remote(
                self.workers,
                limits,
                state_bytes=self._state_bytes,
                max_restarts=self._max_restarts,
                paths=self._paths,
                options=self._options,
            )
        backend.start()
        return backend

    def _decided(self, agent_id: str, observation: Any) -> Backend:
        """Choose the executor by trying the step on a second agent of the same making."""
        with self._lock:
            if self._backend is None:
                _, target, arguments = self._agents[agent_id]
                self.choice = choose(target, arguments, observation, self.workers, self._paths)
                backend = self._made(self.choice.executor)
                for each, kind, values in self._agents.values():
                    backend.add(Step(each, None), kind, values)
                self._backend = backend
            return self._backend

    def _unknown(self, agent_id: str) -> PoolError:
        return PoolError(f"the pool has no agent '{agent_id}'; add it first")

    def _check(self, wanted: str) -> None:
        if os.getpid() != self._pid:
            raise PoolError("this pool belongs to the parent process; make a new one in a forked child")
        if self._state == "closed":
            raise PoolClosedError("the pool was closed")
        if self._state != wanted:
            raise PoolError(
                "the pool was started already" if wanted == "new" else "the pool is not started; use `with`"
            )


def check_numbers(**numbers: tuple[Any, float, float | None]) -> None:
    """Raise `PoolError` for the first that is no finite number between its bounds (None: none above)."""
    for name, (value, least, most) in numbers.items():
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not good or value < least or (most is not None and value > most):
            bounds = f"at least {least}" if most is None else f"between {least} and {most}"
            raise PoolError(f"{name} must be a number, {bounds}, not {value!r}")


def _check_options(priority: Any, timeout: Any, deadline: Any) -> None:
    """Raise `PoolError` for options of a step that mean nothing."""
    check_numbers(priority=(priority, -(2.0**53), 2.0**53))
    if timeout is not None:
        check_numbers(timeout=(timeout, 0, None))
    if deadline is not None:
        check_numbers(deadline=(deadline, -(2.0**31), 2.0**31))
