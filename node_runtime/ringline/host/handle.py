"""A handle on one spawned process: send, receive, health checks, orderly and forced end.

Sessions hold one per node. The process may be the child of a zygote: the handle asks `Process` and `Line` for what it needs.
Every answer is matched by its message id; a check never swallows another message.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal as signals
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ringline.control.messages import Message, MessageType
from ringline.host.handle_tasks import begin
from ringline.host.health import HealthCheck, HealthSettings

log = logging.getLogger("ringline.host")

EXIT_AFTER_ACK_S: Final = 2.0
TERM_PATIENCE_S: Final = 3.0
"""Between SIGTERM and SIGKILL."""


@dataclass
class SpawnConfig:
    """Settings of a handle, in seconds. Sessions take theirs from `RuntimeConfig`."""

    health_check_interval: float = 5.0
    shutdown_timeout: float = 10.0
    health_check_timeout: float = 3.0


class Process(Protocol):
    """What a handle needs of a process; signals go to its whole group."""

    @property
    def pid(self) -> int | None: ...
    @property
    def returncode(self) -> int | None: ...
    async def wait(self) -> int: ...
    def send_signal(self, number: int) -> None: ...


class Line(Protocol):
    """The way of a message to the process."""

    async def send(self, message: Message) -> None: ...


class NodeHandle:
    """Controls one process. All coroutines belong to the event loop in which it was made.

    `on_message` gets what is no answer; without it such messages wait for `receive_message`.
    """

    def __init__(
        self,
        process: Process,
        line: Line | None,
        *,
        process_id: str = "",
        config: SpawnConfig | None = None,
        on_unhealthy: Callable[[], Any] | None = None,
        max_health_failures: int = 2,
        on_message: Callable[[Message], None] | None = None,
        labels: dict[str, object] | None = None,
    ) -> None:
        self.process_id = process_id or str(uuid.uuid4())
        self.process = process
        self.config = config or SpawnConfig()
        self.exit_reason: str | None = None
        """graceful, forced or already_dead, once `shutdown` has returned."""
        self._line = line
        self._on_message = on_message
        self._labels = {"process_id": self.process_id, **(labels or {})}
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._inbox: asyncio.Queue[Message | None] = asyncio.Queue()
        self._shutdown_requested = False
        self._checking: asyncio.Task[None] | None = None
        settings = HealthSettings(
            self.config.health_check_interval, self.config.health_check_timeout, max_health_failures
        )
        self.health = HealthCheck(f"process {self.process_id}", self._ask_health, settings, on_unhealthy, self._labels)

    @property
    def is_alive(self) -> bool:
        return self.process.returncode is None

    @property
    def pid(self) -> int | None:
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        return self.process.returncode

    @property
    def is_healthy(self) -> bool:
        """Alive, and the last check passed (or none was made yet)."""
        return self.health.healthy and self.is_alive

    @property
    def on_unhealthy(self) -> Callable[[], Any] | None:
        return self.health.on_unhealthy

    async def send_message(self, message: Message) -> None:
        """Send a message. Raises `RuntimeError` if there is no way to the process or it is not running."""
        if self._line is None:
            raise RuntimeError(f"Process {self.process_id} stdin is not available")
        if not self.is_alive:
            raise RuntimeError(f"Process {self.process_id} is not running")
        await self._line.send(message)
        self._say(logging.DEBUG, "sent %s to process %s", message.type.value, self.process_id, type=message.type.value)

    async def receive_message(self) -> Message | None:
        """Give the next message that is no answer to a request; None when the process has ended."""
        if self._line is None:
            raise RuntimeError(f"Process {self.process_id} stdout is not available")
        if not self.is_alive and self._inbox.empty():
            return None
        message = await self._inbox.get()
        if message is None:
            self._inbox.put_nowait(None)
        return message

    async def request(self, message: Message, timeout_s: float) -> Message:
        """Send a message and return its answer. Raises `TimeoutError`, or `RuntimeError` if the process ends."""
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[message.message_id] = answer
        try:
            async with asyncio.timeout(timeout_s):
                await self.send_message(message)
                return await answer
        finally:
            self._waiting.pop(message.message_id, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # seen: asyncio must not report it as lost

    def deliver(self, message: Message) -> None:
        """Take a message of the process: to whom waits for it, else to `on_message` or the inbox."""
        self._say(
            logging.DEBUG, "received %s of process %s", message.type.value, self.process_id, type=message.type.value
        )
        answer = self._waiting.get(message.message_id)
        if answer is not None and not answer.done():
            answer.set_result(message)
        elif self._on_message is not None:
            self._on_message(message)
        elif message.type is not MessageType.HEALTH_CHECK_RESPONSE:  # a late answer means nothing any more
            self._inbox.put_nowait(message)

    def ended(self) -> None:
        """Let nobody wait any longer: the process has ended."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(RuntimeError(f"Process {self.process_id} is not running"))
        self._inbox.put_nowait(None)

    async def start_health_check(self, interval: float | None = None) -> None:
        """Check each `interval` seconds in a task of its own; a second start only warns."""
        if self._checking is not None and not self._checking.done():
            self._say(logging.WARNING, "health check already running for process %s", self.process_id)
            return
        seconds = interval if interval is not None else self.config.health_check_interval
        run = self.health.run(seconds, lambda: self.is_alive and not self._shutdown_requested)
        self._checking = begin(run, f"spawn_health_check:{self.process_id}")
        self._say(logging.DEBUG, "started health check of process %s", self.process_id, interval=seconds)

    async def stop_health_check(self) -> None:
        """End the checks. Safe from inside `on_unhealthy`, which runs in the checking task."""
        task, self._checking = self._checking, None
        if task is None or task.done() or task is asyncio.current_task():
            return
        task.cancel("spawn_health_check_stopped")
        await asyncio.wait([task])
        self._say(logging.DEBUG, "stopped health check of process %s", self.process_id)

    async def shutdown(self, timeout: float | None = None) -> bool:
        """Ask the process to end; True if it did (or had already), False if it had to be forced."""
        if not self.is_alive:
            self.exit_reason = self.exit_reason or "already_dead"
            return True
        self._shutdown_requested = True
        await self.stop_health_check()
        seconds = timeout if timeout is not None else self.config.shutdown_timeout
        try:
            message = Message(MessageType.SHUTDOWN, {"reason": "parent_initiated"})
            answer = await self.request(message, seconds)
            if answer.type is MessageType.SHUTDOWN_ACK:
                self._say(logging.DEBUG, "process %s agrees to end", self.process_id, type=answer.type.value)
                await asyncio.wait_for(self.process.wait(), EXIT_AFTER_ACK_S)
        except TimeoutError:
            self._say(logging.WARNING, "shutdown of process %s timed out", self.process_id, timeout=seconds)
        except Exception as error:
            if self.is_alive:
                self._say(logging.ERROR, "shutdown of process %s failed: %s", self.process_id, error)
        if not self.is_alive:
            self.exit_reason = "graceful"
            self._say(logging.DEBUG, "process %s has ended in order", self.process_id)
            return True
        return await self._force_terminate()

    async def force_kill(self) -> None:
        """Kill the process group now and wait for its end; nothing if it has ended."""
        if not self.is_alive:
            return
        self._shutdown_requested = True
        await self.stop_health_check()
        self.exit_reason = "forced"
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signals.SIGKILL)
        await self.process.wait()
        self._say(logging.INFO, "process %s was killed", self.process_id)

    async def wait_for_completion(self) -> int:
        """Wait for the process' own end; its exit code, -1 if unknown."""
        await self.stop_health_check()
        if self.is_alive:
            await self.process.wait()
        code = self.exit_code
        self._say(logging.DEBUG, "process %s has completed", self.process_id)
        return code if code is not None else -1

    async def _force_terminate(self) -> bool:
        """Send SIGTERM, then SIGKILL; True only if the process was gone before any of them."""
        if not self.is_alive:
            return True
        try:
            self.process.send_signal(signals.SIGTERM)
        except ProcessLookupError:
            await self.process.wait()  # its end is on its way to us
            self.exit_reason = "already_dead"
            return True
        self.exit_reason = "forced"
        try:
            await asyncio.wait_for(self.process.wait(), TERM_PATIENCE_S)
        except TimeoutError:
            self._say(
                logging.WARNING, "process %s did not terminate, killing", self.process_id, timeout=TERM_PATIENCE_S
            )
            await self.force_kill()
        else:
            self._say(logging.INFO, "process %s was terminated", self.process_id)
        return False

    def _say(self, level: int, text: str, *words: object, **fields: object) -> None:
        """Log with what tells one process from another."""
        if log.isEnabledFor(level):
            known = {"pid": self.pid, "exit_code": self.exit_code}
            log.log(level, text, *words, extra={**self._labels, **known, **fields})

    async def _ask_health(self, timeout_s: float) -> bool:
        answer = await self.request(Message(MessageType.HEALTH_CHECK, {}), timeout_s)
        return answer.type is MessageType.HEALTH_CHECK_RESPONSE
