"""The two pools that users of process-and-thread designs know by name: `ProcessBasedAgentPool` and `IOThreadPool`.

Both keep the documented names and defaults; the first is an `AgentPool` whose agents are calls of one function, with beliefs in
shared state instead of a manager's dict.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ringline.agents.pool import MOST_WORKERS, AgentPool
from ringline.agents.state import SharedState
from ringline.agents.steps import Step
from ringline.agents.targets import load
from ringline.errors import PoolClosedError, PoolError

IO_THREADS: Final = 20


class Inference:
    """One agent of a `ProcessBasedAgentPool`: calls the function with its id, the observation and the shared beliefs."""

    def __init__(self, function: str, agent_id: str, state: SharedState) -> None:
        self._function = load(function)
        self._agent_id = agent_id
        self._state = state

    def step(self, observation: Any) -> Any:
        """Run the function once."""
        return self._function(self._agent_id, observation, self._state)


class ProcessBasedAgentPool:
    """Runs `inference(agent_id, observation, belief_cache)` ("module:function") in `num_processes` processes, default one per core.

    Started by its making. An agent's calls all go to one process; `belief_cache` is a `SharedState`.
    """

    def __init__(self, num_processes: int | None = None, *, inference: str, paths: Iterable[str] = ()) -> None:
        self.num_processes = num_processes or min(MOST_WORKERS, os.cpu_count() or 1)
        self._inference = inference
        self._known: set[str] = set()
        self._lock = threading.Lock()
        self.pool = AgentPool("process", workers=self.num_processes, paths=paths).start()

    @property
    def belief_cache(self) -> SharedState:
        """What all processes believe, by agent id or any other key."""
        return self.pool.state

    def run_agent_inference(self, agent_id: str, observation: Any) -> Step:
        """Start a call; its result comes by `.get(timeout)`, `.result(timeout)` or `asyncio.wrap_future`."""
        with self._lock:
            if agent_id not in self._known:
                self._known.add(agent_id)
                self.pool.add(agent_id, "ringline.agents.named:Inference", {"function": self._inference})
        return self.pool.submit(agent_id, observation)

    def close(self) -> None:
        """End the processes; idempotent."""
        self.pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class IOThreadPool:
    """`num_threads` threads for what waits: database queries, sockets, files. A context manager.

    `database`: path of a sqlite file, one connection per thread. `send`: what sends one message (a websocket's `send`).
    """

    def __init__(
        self,
        num_threads: int = IO_THREADS,
        *,
        database: Path | str | None = None,
        send: Callable[[Any], Any] | None = None,
    ) -> None:
        self.num_threads = num_threads
        self.executor = ThreadPoolExecutor(max_workers=num_threads, thread_name_prefix="agents-io")
        self._database = database
        self._send = send
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._closed = False

    def submit(self, work: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """Run any function in a thread. Raises `PoolClosedError`, `PoolError` in a forked child."""
        if os.getpid() != self._pid:
            raise PoolError("this pool belongs to the parent process; make a new one in a forked child")
        if self._closed:
            raise PoolClosedError("the pool was closed")
        return self.executor.submit(work, *args, **options)

    def query_database(self, query: str, parameters: Iterable[Any] = ()) -> Future[Any]:
        """Run one statement in a transaction of its own; the future gives its rows."""
        return self.submit(self._query, [(query, tuple(parameters))])

    def write_database(self, statement: str, rows: Iterable[Iterable[Any]]) -> Future[Any]:
        """Run one statement for many rows in one transaction, which costs one wait for the disk; the future gives []."""
        return self.submit(self._query, [(statement, tuple(row)) for row in rows])

    def send_websocket(self, message: Any) -> Future[Any]:
        """Send one message; the future gives what `send` returned."""
        if self._send is None:
            raise PoolError("this pool has no websocket; make it with IOThreadPool(send=websocket.send)")
        return self.submit(self._send, message)

    def close(self) -> None:
        """Wait for what runs, end the threads, close the connections; idempotent."""
        self._closed = True
        self.executor.shutdown(cancel_futures=True)
        while self._connections:
            self._connections.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _query(self, statements: list[tuple[str, tuple[Any, ...]]]) -> list[Any]:
        rows: list[Any] = []
        with self._connection() as connection:
            for text, parameters in statements:
                rows = connection.execute(text, parameters).fetchall()
        return rows

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            raise PoolError("this pool has no database; make it with IOThreadPool(database=path)")
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = sqlite3.connect(self._database, timeout=30.0, check_same_thread=False)
            with self._lock:
                self._connections.append(found)
        return found
