"""Other pools as crowds of the agents' benchmark: what they offer for the same work.

None of them keeps an agent: a task goes to any process. Here every process keeps agents of its own, made at their first step there,
which is the cheapest that such a pool can do and less than the same thing: an agent has as many states as there are processes.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from importlib.util import find_spec
from multiprocessing.pool import Pool
from typing import Any, Final

from ringline.bench.crowds import outcome
from ringline.bench.load import Done
from ringline.bench.work import hang_up, make

THREADS: Final = 20
"""As many as Ringline's pools have."""
CORES: Final = len(os.sched_getaffinity(0))
_agents: dict[str, Any] = {}


def step(kernel: str, agent: int, arguments: dict[str, Any], observation: Any) -> Any:
    """Do one step of an agent in this process."""
    name = f"agent{agent}"
    found = _agents.get(name)
    if found is None:
        found = _agents.setdefault(name, make(kernel, name, arguments))
    return found.step(observation)


class FuturesCrowd:
    """Agents behind anything that is used like `concurrent.futures`."""

    def __init__(self, executor: Callable[[], Executor], name: str) -> None:
        self._executor = executor()
        self._name = name

    def settle(self, _: int, kernel: str, arguments: dict[str, Any]) -> str:
        self._work = (kernel, arguments)
        return self._name

    def submit(self, agent: int, observation: Any, done: Done) -> None:
        kernel, arguments = self._work
        future: Future[Any] = self._executor.submit(step, kernel, agent, arguments, observation)
        future.add_done_callback(lambda answered: done(agent, outcome(answered)))

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)
        hang_up()


class FuturesThread(FuturesCrowd):
    """`concurrent.futures.ThreadPoolExecutor`."""

    def __init__(self) -> None:
        super().__init__(lambda: ThreadPoolExecutor(THREADS), "thread")


class FuturesProcess(FuturesCrowd):
    """`concurrent.futures.ProcessPoolExecutor`, one process per core."""

    def __init__(self) -> None:
        super().__init__(lambda: ProcessPoolExecutor(CORES), "process")


class Loky(FuturesCrowd):
    """`loky`, the executor of processes on which joblib's `Parallel` runs."""

    def __init__(self) -> None:
        from loky import get_reusable_executor

        super().__init__(lambda: get_reusable_executor(max_workers=CORES, timeout=600), "process")

    def close(self) -> None:
        executor: Any = self._executor  # whose shutdown has other words
        executor.shutdown(kill_workers=True)
        hang_up()


class MultiprocessingPool:
    """`multiprocessing.Pool`, one process per core."""

    def __init__(self) -> None:
        self._pool: Pool = multiprocessing.Pool(CORES)

    def settle(self, _: int, kernel: str, arguments: dict[str, Any]) -> str:
        self._work = (kernel, arguments)
        return "process"

    def submit(self, agent: int, observation: Any, done: Done) -> None:
        kernel, arguments = self._work
        self._pool.apply_async(
            step,
            (kernel, agent, arguments, observation),
            callback=lambda result: done(agent, result),
            error_callback=lambda error: done(agent, error),
        )

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


class ProcessEach:
    """A process for each agent, the classic way: `multiprocessing.Process` and a pipe. Measured for its memory."""

    def __init__(self, method: str) -> None:
        self._context: Any = multiprocessing.get_context(method)
        self._agents: list[tuple[Any, Any]] = []

    def settle(self, agents: int, kernel: str, arguments: dict[str, Any]) -> str:
        for agent in range(agents):
            mine, its = self._context.Pipe()
            process = self._context.Process(target=serve, args=(its, kernel, agent, arguments), daemon=True)
            process.start()
            its.close()
            self._agents.append((process, mine))
        return "process each"

    def submit(self, agent: int, observation: Any, done: Done) -> None:
        """Do the step and wait for it."""
        pipe = self._agents[agent][1]
        pipe.send(observation)
        done(agent, pipe.recv())

    def close(self) -> None:
        for process, pipe in self._agents:
            pipe.close()
            process.terminate()
        for process, _ in self._agents:
            process.join()


def serve(pipe: Any, kernel: str, agent: int, arguments: dict[str, Any]) -> None:
    """Be the process of one agent."""
    while True:
        try:
            observation = pipe.recv()
        except EOFError:
            return
        pipe.send(step(kernel, agent, arguments, observation))


def installed(package: str) -> bool:
    return find_spec(package) is not None
