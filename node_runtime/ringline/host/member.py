"""One node of a session over all its incarnations: state, handle, progress, last lines, exits.

Plain state that the supervisor changes from events; no input or output of its own.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from ringline.control.messages import Message, MessageType
from ringline.errors import InitTimeout, SessionError
from ringline.graph.plan import NodePlan
from ringline.host.exits import TAIL_LINES, Circumstances, ExitRecord
from ringline.host.handle import NodeHandle
from ringline.host.restart import RestartHistory, RestartPolicy
from ringline.host.status import NodeStatus, Progress

PARAMETERS_PATIENCE_S: Final = 30.0
"""A node takes parameters between two messages; `process` may take its time."""


class ZygoteProcess:
    """A node's process as its handle sees it: a child of the zygote, known by node and epoch."""

    def __init__(self, kill: Callable[[int], None]) -> None:
        self.pid: int | None = None
        self.returncode: int | None = None
        self._kill = kill
        self._ended = asyncio.Event()

    async def wait(self) -> int:
        await self._ended.wait()
        return -1 if self.returncode is None else self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            self._kill(number)

    def finish(self, code: int) -> None:
        """Record the exit that the zygote reported."""
        self.returncode = code
        self._ended.set()


class Member:
    """A node in its session. `ready` is done when the present incarnation is ready, or can't be."""

    def __init__(self, plan: NodePlan, policy: RestartPolicy) -> None:
        self.plan = plan
        self.name = plan.name
        self.history = RestartHistory(policy)
        self.state = "starting"
        self.epoch = 0
        self.handle: NodeHandle | None = None
        self.process: ZygoteProcess | None = None
        self.ready = _readiness()
        self.heard = asyncio.Event()
        self.last_exit: ExitRecord | None = None
        self.exits: Counter[str] = Counter()
        self.health_failures: Counter[str] = Counter()
        self.progress = self._reached = Progress(self.name, "starting", 0.0)
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.numbers: Mapping[str, Mapping[str, float]] = {}
        """The author's own counters and gauges, as the process told them last."""
        self.kill_reason = ""
        self.told: Mapping[str, Any] = {}
        self.done = False
        self.stopping = False

    def begin(self, epoch: int, handle: NodeHandle, process: ZygoteProcess) -> None:
        """Begin a new incarnation."""
        if self.ready.done():
            self.ready = _readiness()
        self.epoch, self.handle, self.process = epoch, handle, process
        self.state = "starting"
        self.progress = self._reached = Progress(self.name, "starting", 0.0)
        self.kill_reason, self.told, self.done = "", {}, False
        self.heard = asyncio.Event()
        self.tail.clear()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def was_ready(self) -> bool:
        return self.ready.done() and not self.ready.cancelled() and self.ready.exception() is None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None and self.alive else None

    @property
    def finished(self) -> bool:
        """It has ended by itself, in order."""
        return not self.alive and self.last_exit is not None and self.last_exit.expected

    def ended(self, record: ExitRecord) -> None:
        """Record the end of its process."""
        self.last_exit = record
        self.exits[record.reason] += 1
        if self.handle is not None:
            self.health_failures.update(self.handle.health.failures_by_reason)
        self.state = "stopped" if record.expected else "failed"
        if self.process is not None:
            self.process.finish(record.exit_code)

    async def take_parameters(self, values: Mapping[str, Any]) -> None:
        """Give the node new parameters; returns when its `on_parameters` has. Raises `SessionError` if it refuses."""
        if self.handle is None or not self.alive:
            raise SessionError(f"node '{self.name}' is not running; it can't take parameters")
        try:
            message = Message(MessageType.CONFIG_UPDATE, {"parameters": dict(values)})
            answer = await self.handle.request(message, PARAMETERS_PATIENCE_S)
        except TimeoutError:
            raise SessionError(f"node '{self.name}' is busy and has not taken its parameters yet") from None
        except RuntimeError as error:
            raise SessionError(f"node '{self.name}' has ended before it took its parameters") from error
        if not answer.payload.get("ok", True):
            raise SessionError(f"node '{self.name}' refused its parameters: {answer.payload.get('error')}")

    def progressed(self, payload: Mapping[str, Any]) -> Progress:
        """Take a PROGRESS event; an absent field keeps its value."""
        last = self.progress
        if last.status != "failed":
            self._reached = last
        fraction = min(1.0, max(0.0, float(payload.get("progress", last.progress))))
        status = str(payload.get("status", last.status))
        self.progress = Progress(self.name, status, fraction, str(payload.get("message", "")))
        self.state = status
        return self.progress

    def circumstances(self, session_id: str) -> Circumstances:
        """Collect what is known about the process now, for its exit record."""
        return Circumstances(
            session_id=session_id,
            phase="running" if self.was_ready else "initialize",
            progress=self.progress_text(),
            kill_reason=self.kill_reason,
            told=self.told,
            done=self.done,
            stopping=self.stopping,
        )

    def progress_text(self) -> str:
        """Put the last progress before a failure into words: ``loading 40%: reading the model``."""
        last = self._reached if self.progress.status == "failed" else self.progress
        text = f"{last.status} {last.progress:.0%}"
        return f"{text}: {last.message}" if last.message else text

    def init_timeout(self, timeout_s: float) -> InitTimeout:
        """Make the documented error of a node that did not become ready."""
        text = f"Node '{self.name}' failed to initialize within {timeout_s:g}s (last progress: {self.progress_text()})"
        tail = tuple(self.tail) or (self.last_exit.stderr_tail if self.last_exit else ())
        if tail:
            text += "\n  its last lines:\n" + "\n".join(f"    {line}" for line in tail)
        return InitTimeout(text, self.name)

    def status(self) -> NodeStatus:
        handle = self.handle
        return NodeStatus(
            state=self.state,
            pid=self.pid,
            epoch=self.epoch,
            restarts=self.history.restarts,
            progress=self.progress.progress,
            message=self.progress.message,
            healthy=handle is None or handle.health.healthy,
            health_failures=sum(self.health_failures.values()),
            last_exit=self.last_exit,
        )


def _readiness() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.add_done_callback(_seen)
    return future


def _seen(future: asyncio.Future[None]) -> None:
    # A failure that nobody waits for any more (another node failed first) must not be reported as lost.
    if not future.cancelled():
        future.exception()
