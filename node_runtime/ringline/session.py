"""`Session`: one running pipeline, as applications use it.

It plans the pipeline and hands the work to an engine: `host.supervisor` (a process per node) or `host.inline` (everything
in this process, for breakpoints). All coroutines belong to the event loop that called `initialize`; any loop, in any
thread, will do, and no signal handler is installed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ringline.data import RuntimeData
from ringline.errors import EndOfStream, SessionClosedError, SessionError
from ringline.graph.catalog import load_catalog
from ringline.graph.layout import ChannelPlan
from ringline.graph.model import MediaPipeline
from ringline.graph.pipeline import Pipeline
from ringline.graph.plan import SessionPlan
from ringline.graph.plan import plan as make_plan
from ringline.graph.validate import runtime_section
from ringline.host.callbacks import Callbacks
from ringline.host.directory import directory_of
from ringline.host.engine import Engine
from ringline.host.exits import ExitRecord
from ringline.host.status import Progress, SessionMetrics, SessionStatus
from ringline.names import session_id_problem
from ringline.node.base import MultiprocessNode
from ringline.node.catalog import entry as catalog_entry
from ringline.node.declared import declared_types
from ringline.node.discovery import box_entry
from ringline.node.registry import registered
from ringline.settings import RuntimeConfig, find_settings_file, resolve_settings
from ringline.shm import ChannelStats

if TYPE_CHECKING:
    from ringline.metrics.server import MetricsServer

LogCallback = Callable[[str, str, str], None]
ProgressCallback = Callable[[Progress], Any]
CrashCallback = Callable[[ExitRecord], Any]


class Session:
    """One running instance of a pipeline.

    `session_id`: letters, digits, ``-_.``, at most 63; one live session of an id per machine. `pipeline`: a `Pipeline` or
    the model of a manifest. `config`: settings that win over the manifest and the environment. `executor`: "inline" runs all
    nodes in this process. `log_callback(node, stream, line)` gets each line that a node prints; the default writes
    ``node | line`` to stderr. `script`: where node classes may be defined (default: the main script). `metrics_port`:
    serve Prometheus text on this port of the loopback interface (0 = any free one).

    Raises `ManifestError` for a pipeline that is wrong and `SessionError` for a bad id.
    """

    def __init__(
        self,
        session_id: str,
        pipeline: Pipeline | MediaPipeline,
        *,
        config: RuntimeConfig | None = None,
        executor: str | None = None,
        log_callback: LogCallback | None = None,
        script: Path | str | None = None,
        metrics_port: int | None = None,
    ) -> None:
        problem = session_id_problem(session_id)
        if problem:
            raise SessionError(f"session id {problem}")
        self.session_id = session_id
        self.plan = _planned(pipeline, config)
        self.executor = executor or _executor(self.plan)
        self._script = Path(script).absolute() if script is not None else None
        self._log = log_callback if log_callback is not None else _print_line
        self._metrics_port = metrics_port
        self._metrics: MetricsServer | None = None
        self._directory: Path | None = None
        self._engine: Engine | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._callbacks = Callbacks(session_id)
        self._crash_callbacks: list[CrashCallback] = []
        self._closers: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._closed = False

    # -- life ------------------------------------------------------------------------------------------------------

    @property
    def directory(self) -> Path:
        """The session's directory in shared memory; known from `initialize` on."""
        if self._directory is None:
            raise SessionError(f"session '{self.session_id}' has no directory before initialize()")
        return self._directory

    async def initialize(self, progress_callback: ProgressCallback | None = None) -> None:
        """Spawn all nodes and wait until each is ready.

        `progress_callback` (sync or async) gets a `Progress` for every step of every node. Raises `ResourceLimitError`,
        `SessionExistsError` or `ProcessSpawnError` before anything is started, `InitTimeout`, `NodeInitError`,
        `ProcessCrashed`, `UnknownNodeTypeError` … afterwards. Whatever it raises, a cancellation too, nothing is left.
        """
        if self._engine is not None or self._closed:
            raise SessionError(f"session '{self.session_id}' was initialized before; make a new Session")
        self._loop = asyncio.get_running_loop()
        try:
            self._engine = self._make_engine()
            await self._engine.initialize(lambda progress: self._show(progress_callback, progress))
            if self._metrics_port is not None:
                self._metrics = _served(self._engine, self._metrics_port)
        except BaseException:
            await self.cleanup()
            raise

    async def start(self) -> None:
        """Let the nodes process. Messages sent before wait in their channels."""
        await self._ready().start()

    async def wait(self) -> None:
        """Return when a finite session has ended by itself. Raises `ProcessCrashed` when it failed."""
        await asyncio.shield(self._ready().ended)

    async def cleanup(self) -> None:
        """End all nodes and free everything. Idempotent; the first call drains what is in the channels.

        A cancellation does not stop it: what is left of the orderly end is skipped, the nodes are killed, and then the
        cancellation goes on.
        """
        if self._engine is None:
            self._closed = True
            return
        self._on_loop()
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(self._engine), name="ringline-cleanup")
        mine = asyncio.current_task()
        if mine is not None:
            self._closers.add(mine)
        cancelled: asyncio.CancelledError | None = None
        while not self._closing.done():
            try:
                await asyncio.shield(self._closing)
            except asyncio.CancelledError as error:
                cancelled = error
                self._engine.hurry()
        if cancelled is not None:
            raise cancelled
        self._closing.result()

    async def _close(self, engine: Engine) -> None:
        if self._metrics is not None:
            self._metrics.close()
        await engine.close()
        await self._callbacks.settle(self.plan.runtime.cleanup_grace_period_secs, self._closers)
        self._closed = True

    async def __aenter__(self) -> Self:
        await self.initialize()
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cleanup()

    # -- data ------------------------------------------------------------------------------------------------------

    async def send(self, node_id: str, data: Any, *, timeout: float | None = None, port: str | None = None) -> bool:
        """Send to an input of the session, named by itself or by its node; False if its policy dropped the message.

        `data` is a `RuntimeData`, or an array, bytes, str or JSON value that becomes one. Waits for room as long as the
        channel's policy says; `timeout` in seconds limits that. Raises `ChannelFullError`, `MessageTooLargeError`,
        `DataError`, and `ProcessCrashed` if the session has failed.
        """
        engine = self._ready()
        channel = self._channel(self.plan.input_channel, node_id, port)
        return await engine.send(channel, self._message(data), timeout)

    def try_send(self, node_id: str, data: Any, *, port: str | None = None) -> bool:
        """Send without waiting: raises `ChannelFullError` when there is no room now."""
        engine = self._ready()
        return engine.try_send(self._channel(self.plan.input_channel, node_id, port), self._message(data))

    async def receive(self, node_id: str, *, timeout: float | None = None, port: str | None = None) -> RuntimeData:
        """Give the next message of an output of the session, named by itself or by its node.

        Raises `EndOfStream` when the output has ended, `TimeoutError` after `timeout` seconds, `LeaseQuotaError` when the
        application holds too many messages, and `ProcessCrashed` if the session has failed.
        """
        engine = self._ready()
        return await engine.receive(self._channel(self.plan.output_channel, node_id, port), timeout)

    async def stream(self, node_id: str, *, port: str | None = None) -> AsyncIterator[RuntimeData]:
        """All messages of an output until it ends."""
        while True:
            try:
                yield await self.receive(node_id, port=port)
            except EndOfStream:
                return

    async def end(self, node_id: str | None = None, *, port: str | None = None) -> None:
        """End the stream of one input, or of all: nodes finish what is queued, then end themselves."""
        engine = self._ready()
        if node_id is None:
            for name in self.plan.inputs:
                engine.end(self.plan.input_channel(name))
        else:
            engine.end(self._channel(self.plan.input_channel, node_id, port))

    async def flush(self, node_id: str) -> None:
        """Drop what is queued for a node and everything downstream, and interrupt what it is producing."""
        await self._ready().flush(self.plan.node(node_id).name)

    async def parameters(self, node_id: str, values: dict[str, Any]) -> None:
        """Give a running node new parameters: its `on_parameters` is called with them."""
        await self._ready().parameters(self.plan.node(node_id).name, values)

    send_input = send
    receive_output = receive

    # -- what it shows ---------------------------------------------------------------------------------------------

    async def get_status(self) -> SessionStatus:
        """State of the session and of each node."""
        if self._engine is None:
            return SessionStatus(self.session_id, "closed" if self._closed else "new", {})
        return self._engine.status()

    async def get_metrics(self) -> SessionMetrics:
        """Memory and number of the node processes."""
        return self._ready().metrics()

    async def get_channel_stats(self, name: str | None = None) -> Any:
        """`ChannelStats` of one channel such as ``asr_to_s2s``, or a dict of all. Raises `SessionError` for others."""
        return self.channel_stats(name) if name is not None else self._ready().channel_stats()

    def channel_stats(self, name: str) -> ChannelStats:
        """Give the statistics of one channel, read from shared memory now."""
        return self._ready().channel_stats()[self.plan.channel(name).name]

    def on_process_crash(self, callback: CrashCallback) -> CrashCallback:
        """Call `callback(event)` (sync or async) for each crash of a node; usable as a decorator.

        The event has node_id, exit_code, signal, reason, message, stderr_tail, epoch and session_id.
        """
        self._crash_callbacks.append(callback)
        return callback

    def _show(self, callback: ProgressCallback | None, progress: Progress) -> None:
        if callback is not None:
            self._callbacks.call(callback, progress)

    # -- inner -----------------------------------------------------------------------------------------------------

    def _make_engine(self) -> Engine:
        def crashed(record: ExitRecord) -> None:
            for callback in self._crash_callbacks:
                self._callbacks.call(callback, record)

        if self.executor == "inline":
            from ringline.host.inline import InlineEngine

            return InlineEngine(self.session_id, self.plan, script=self._script, on_crash=crashed)
        from ringline.host.launcher import LocalLauncher
        from ringline.host.supervisor import Supervisor

        self._directory = directory_of(self.session_id, os.environ)
        return Supervisor(
            self.session_id,
            self.plan,
            launcher=LocalLauncher(self._directory, self._script),
            on_log=self._log,
            on_crash=crashed,
        )

    def _ready(self) -> Engine:
        if self._closed:
            raise SessionClosedError(f"session '{self.session_id}' has ended")
        if self._engine is None:
            raise SessionError(f"session '{self.session_id}' is not initialized; await session.initialize() first")
        self._on_loop()
        return self._engine

    def _on_loop(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise SessionError(
                f"session '{self.session_id}' belongs to another event loop; use asyncio.run_coroutine_threadsafe"
            )

    def _message(self, data: Any) -> RuntimeData:
        return RuntimeData.coerce(data)

    def _channel(self, look_up: Callable[[str], ChannelPlan], node_id: str, port: str | None) -> ChannelPlan:
        return look_up(f"{node_id}.{port}" if port else node_id)


def _planned(pipeline: Pipeline | MediaPipeline, config: RuntimeConfig | None) -> SessionPlan:
    """Plan with all layers of settings; what `config` says explicitly is the top one."""
    model = pipeline.resource if isinstance(pipeline, Pipeline) else pipeline
    settings = resolve_settings(
        file=find_settings_file(Path.cwd()),
        manifest=runtime_section(model),
        manifest_folder=model.source.folder,
        environ=os.environ,
        overrides=config,
    )
    # The application's own classes count with their ports, as those in the box do.
    folders = [*settings.extra_paths, *(path for node in model.spec.nodes for path in node.python.extra_paths)]
    known = {name: _entry(cls) for name, cls in registered().items()}
    own = {name: entry for name, entry in (declared_types(folders) | known).items() if box_entry(name) is None}
    return make_plan(model, settings, {**load_catalog(), **own})


def _entry(cls: type[MultiprocessNode]) -> dict[str, Any]:
    """Give a class' catalog entry; one without a `Config` takes any configuration."""
    found = catalog_entry(cls)
    if cls.Config is None:
        del found["config"]
    return found


def _executor(plan: SessionPlan) -> str:
    """Give the executor that all nodes share; the plan has checked that they do."""
    return "inline" if any(node.executor == "inline" for node in plan.nodes) else "process"


def _served(engine: Engine, port: int) -> MetricsServer:
    """Serve an engine's metrics. Imported here: few sessions do, and an HTTP server costs a tenth of their imports."""
    from ringline.metrics.collector import SessionCollector
    from ringline.metrics.server import MetricsServer

    return MetricsServer(SessionCollector(engine), port)


def _print_line(node: str, _stream: str, line: str) -> None:
    print(f"{node} | {line}", file=sys.stderr, flush=True)
