"""`Runtime`: executors registered by name, sessions made from pipelines; and a retry at the level of sessions.

The names are those of the documents' Rust interface, so that its examples read the same in Python. `Session` does the work.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ringline.errors import NodeInitError, ProcessCrashed, SessionClosedError, SessionError
from ringline.graph.model import MediaPipeline
from ringline.graph.pipeline import Pipeline
from ringline.session import CrashCallback, LogCallback, ProgressCallback, Session
from ringline.settings import RuntimeConfig

_T = TypeVar("_T")


class MultiprocessExecutor:
    """Runs each node in a process of its own, with the settings in `config`."""

    kind = "process"

    def __init__(self, config: RuntimeConfig | None = None) -> None:
        self.config = config or RuntimeConfig()


class InlineExecutor:
    """Runs all nodes of a session in the application's process, to debug them with breakpoints."""

    kind = "inline"

    def __init__(self, config: RuntimeConfig | None = None) -> None:
        self.config = config or RuntimeConfig()


Executor = MultiprocessExecutor | InlineExecutor


class RuntimeBuilder:
    """Collects executors: ``Runtime.builder().register_executor("python", executor).build()``."""

    def __init__(self) -> None:
        self._executors: dict[str, Executor] = {}

    def register_executor(self, name: str, executor: Executor) -> Self:
        """Register an executor under the name that nodes choose it by. Raises `SessionError` for a name taken."""
        if name in self._executors:
            raise SessionError(f"executor '{name}' is registered already")
        self._executors[name] = executor
        return self

    def build(self) -> Runtime:
        """Make the runtime; it may be awaited, as in the Rust interface, or used as it is."""
        return Runtime(executors=self._executors)


class Runtime:
    """Makes sessions and ends them together.

    `config` is for a runtime with the one executor "python" (alias "process"). An async context manager: entering
    starts it, leaving ends every session.
    """

    def __init__(
        self,
        config: RuntimeConfig | None = None,
        *,
        executors: dict[str, Executor] | None = None,
        log_callback: LogCallback | None = None,
    ) -> None:
        self._executors = executors or {"python": MultiprocessExecutor(config)}
        self._log_callback = log_callback
        self._sessions: dict[str, Session] = {}
        self._crash_callbacks: list[CrashCallback] = []
        self._state = "new"

    @staticmethod
    def builder() -> RuntimeBuilder:
        """Give a builder, to register executors by name."""
        return RuntimeBuilder()

    def __await__(self) -> Generator[Any, None, Runtime]:
        return _itself(self).__await__()

    @property
    def sessions(self) -> dict[str, Session]:
        """The sessions made here that were not ended here, by id."""
        return dict(self._sessions)

    async def start(self) -> None:
        """Allow sessions to be made."""
        if self._state == "closed":
            raise SessionClosedError("this runtime was shut down; make a new one")
        self._state = "started"

    async def create_session(
        self,
        session_id: str,
        pipeline: Pipeline | MediaPipeline,
        *,
        progress_callback: ProgressCallback | None = None,
        script: Path | str | None = None,
    ) -> Session:
        """Spawn all nodes, wait until they are ready, and start them. Raises what `Session.initialize` raises."""
        if self._state != "started":
            raise SessionError("this runtime is not started; await runtime.start() first")
        executor = self._executor(pipeline)
        session = Session(
            session_id,
            pipeline,
            config=executor.config,
            executor=executor.kind,
            log_callback=self._log_callback,
            script=script,
        )
        for callback in self._crash_callbacks:
            session.on_process_crash(callback)
        await session.initialize(progress_callback)
        self._sessions[session_id] = session
        await session.start()
        return session

    def on_process_crash(self, callback: CrashCallback) -> CrashCallback:
        """Call `callback(event)` for each crash of a node in any session, present and future."""
        self._crash_callbacks.append(callback)
        for session in self._sessions.values():
            session.on_process_crash(callback)
        return callback

    async def shutdown(self) -> None:
        """End all sessions. Idempotent."""
        self._state = "closed"
        sessions, self._sessions = list(self._sessions.values()), {}
        results = await asyncio.gather(*(each.cleanup() for each in sessions), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()

    def _executor(self, pipeline: Pipeline | MediaPipeline) -> Executor:
        """Find the executor that the pipeline's nodes name; "python" and "process" mean the same."""
        model = pipeline.resource if isinstance(pipeline, Pipeline) else pipeline
        names = {node.executor.lower() for node in model.spec.nodes}
        if len(names) > 1:
            raise SessionError(f"all nodes of a session share one executor, this pipeline names {sorted(names)}")
        name = next(iter(names), "process")
        wanted = ("python", "process") if name in ("python", "process") else (name,)
        for each in wanted:
            if each in self._executors:
                return self._executors[each]
        if name == "inline":
            return InlineExecutor(next((each.config for each in self._executors.values()), None))
        known = ", ".join(sorted(self._executors))
        raise SessionError(f"no executor '{name}' is registered (there is: {known})")


async def run_with_retry(
    session_factory: Callable[[], Session],
    work: Callable[[Session], Awaitable[_T]],
    *,
    attempts: int = 3,
    backoff: float = 1.0,
    max_backoff: float = 60.0,
) -> _T:
    """Run `work` in a new session, again in another one when a node crashes: sessions are retried, not nodes.

    `session_factory()` makes each session (an id may be used again); it is initialized, started and cleaned up here.
    Waits `backoff` seconds before the second attempt, doubling up to `max_backoff`, with up to a tenth of jitter.
    Raises what the last attempt raised; everything but `ProcessCrashed` and `NodeInitError` at once.
    """
    if attempts < 1:
        raise ValueError(f"attempts must be at least 1, not {attempts}")
    for attempt in range(1, attempts + 1):
        try:
            async with session_factory() as session:
                return await work(session)
        except (ProcessCrashed, NodeInitError):
            if attempt == attempts:
                raise
        delay = min(backoff * 2 ** (attempt - 1), max_backoff)
        await asyncio.sleep(delay * (1 + random.random() / 10))  # noqa: S311  (jitter, no secret)
    raise AssertionError("unreachable")


async def _itself(runtime: Runtime) -> Runtime:
    return runtime
