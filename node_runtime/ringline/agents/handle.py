"""`SpawnedProcessHandle`: the handle of sessions' nodes, for one process that an application spawned itself.

The names, defaults, return values and errors are those that users of such handles know. The child has a session of its own
(zygote, control link, two channels), which is freed as soon as the process has ended and its last messages are read.
"""

from __future__ import annotations

import asyncio
import signal as signals
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Protocol, Self

from ringline.agents.lines import Lines
from ringline.control.messages import Message
from ringline.host.exits import ExitRecord
from ringline.host.handle import NodeHandle, Process, SpawnConfig
from ringline.host.handle_tasks import begin

_MOST_WAITING: Final = 1000
"""Messages that wait for `receive_message`; with more the child itself has to wait, in its channel."""


class Owner(Protocol):
    """What a handle needs of the session around its process."""

    exit: ExitRecord | None
    session_id: str

    async def send(self, message: Message) -> None: ...
    async def next_message(self) -> Message | None: ...
    def end_input(self) -> None: ...
    async def end_output(self) -> None: ...
    def expect_end(self) -> None: ...
    def stderr_tail(self) -> tuple[str, ...]: ...
    async def close(self) -> None: ...


class InputEnd:
    """The child's standard input, as far as handles use it: it can be closed, which ends the stream of messages."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end
        self.closed = False

    def close(self) -> None:
        """Say that no more messages will come; idempotent."""
        if not self.closed:
            self.closed = True
            self._end()

    def is_closing(self) -> bool:
        """Say whether it was closed."""
        return self.closed


class SpawnedProcess:
    """The process as `asyncio.subprocess.Process` shows one; signals go to its whole group.

    Messages do not travel by its pipes: closing `stdin` ends the input, `stdout` and `stderr` are what the process prints.
    """

    def __init__(self, process: Process, end: Callable[[], None]) -> None:
        self._process = process
        self.stdin: InputEnd | None = InputEnd(end)
        self.stdout = Lines()
        self.stderr = Lines()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for the end; its exit code, 128 + signal for a killed process."""
        return await self._process.wait()

    def send_signal(self, number: int) -> None:
        """Signal the process group. Raises `ProcessLookupError` if the process has ended."""
        if self.returncode is not None:
            raise ProcessLookupError(f"process {self.pid} has ended")
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signals.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signals.SIGKILL)


class SpawnedProcessHandle(NodeHandle):
    """Controls one spawned process; made by `spawn_process`. An async context manager that shuts it down.

    `exit_reason` is graceful, forced or already_dead once `shutdown` has returned; `last_exit` tells the rest.
    """

    def __init__(
        self,
        process: SpawnedProcess,
        owner: Owner,
        *,
        process_id: str = "",
        config: SpawnConfig | None = None,
        on_unhealthy: Callable[[], Any] | None = None,
        max_health_failures: int = 2,
        on_message: Callable[[Message], None] | None = None,
    ) -> None:
        super().__init__(
            process,
            owner,
            process_id=process_id,
            config=config,
            on_unhealthy=on_unhealthy,
            max_health_failures=max_health_failures,
            on_message=on_message,
        )
        self._owner = owner
        self._spawned = process
        self._mail: asyncio.Queue[Message | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._draining = False
        self._life: asyncio.Task[None] | None = None

    @property
    def last_exit(self) -> ExitRecord | None:
        """The record of the process' end: reason, signal, memory, last lines; None while it lives."""
        return self._owner.exit

    @property
    def stderr_tail(self) -> tuple[str, ...]:
        """The last lines that the process wrote to stderr."""
        return self._owner.stderr_tail()

    def begin(self) -> None:
        """Begin to read what the process sends, and watch for its end; once, by `spawn_process`."""
        self._life = begin(self._live(), f"spawned:{self.process_id}")

    async def send_message(self, message: Message) -> None:
        """Send a message of any size up to the channel's. Raises `RuntimeError` if there is no way to the process."""
        if self._spawned.stdin is None or (self._spawned.stdin.closed and message.type.value == "INPUT"):
            raise RuntimeError(f"Process {self.process_id} stdin is not available")
        await super().send_message(message)

    async def receive_message(self) -> Message | None:
        """Give the next message of the process; None when it has ended and everything was received."""
        if self._life is None:
            raise RuntimeError(f"Process {self.process_id} stdout is not available")
        message = await self._mail.get()
        self._room.set()
        if message is None:
            self._mail.put_nowait(None)
        return message

    async def shutdown(self, timeout: float | None = None) -> bool:
        """Ask the process to end; True if it did (or had already), False if it had to be forced."""
        self._draining = True
        self._room.set()
        if self.is_alive:
            self._owner.expect_end()
        graceful = await super().shutdown(timeout)
        await self._over()
        return graceful

    async def force_kill(self) -> None:
        """Kill the process group now and wait for its end; nothing if it has ended."""
        if self.is_alive:
            self._owner.expect_end()
        await super().force_kill()
        await self._over()

    async def wait_for_completion(self) -> int:
        """Close the input, take in whatever the process still sends, and return its exit code (-1 if unknown).

        What it sent stays to be received.
        """
        self._draining = True
        self._room.set()
        if self._spawned.stdin is not None and self.is_alive:
            self._spawned.stdin.close()
        code = await super().wait_for_completion()
        await self._over()
        return code

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()

    async def _over(self) -> None:
        if self._life is not None and self._life is not asyncio.current_task():
            await asyncio.shield(self._life)

    async def _live(self) -> None:
        """Take in messages until the process has ended and its channel is read, then free its session."""
        reading = begin(self._read(), f"spawned-mail:{self.process_id}")
        try:
            await self.process.wait()
            self._draining = True
            self._room.set()
            await self._owner.end_output()
            await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            self._mail.put_nowait(None)
            await self._owner.close()
            self._spawned.stdout.feed_eof()
            self._spawned.stderr.feed_eof()

    async def _read(self) -> None:
        while (message := await self._owner.next_message()) is not None:
            while self._mail.qsize() >= _MOST_WAITING and not self._draining:
                self._room.clear()
                await self._room.wait()
            self._mail.put_nowait(message)
