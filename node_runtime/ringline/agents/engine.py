"""The session around one spawned process, and what it and pools have in common: names, folders, plans.

A pool or a handle is a session whose nodes are agents' processes: same zygote, control link, arena and restarts. What differs
from other sessions goes through `ringline.host.terms`.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ringline.agents import mail
from ringline.agents.handle import SpawnedProcess, SpawnedProcessHandle
from ringline.control.messages import Message, MessageType
from ringline.errors import EndOfStream, RinglineError
from ringline.graph.pipeline import Pipeline
from ringline.graph.session_plan import SessionPlan
from ringline.host.directory import directory_of
from ringline.host.exits import ExitRecord
from ringline.host.handle import SpawnConfig
from ringline.host.launcher import LocalLauncher
from ringline.host.member import ZygoteProcess
from ringline.host.supervisor import Supervisor
from ringline.host.terms import Terms
from ringline.settings import RuntimeConfig, resolve_settings

_NEEDED: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR")
"""Without these an interpreter, its packages or its temporary files may not be found."""
CHILD = "child"
"""The one node of a handle's session."""
_CONTROL = frozenset(
    (
        MessageType.HEALTH_CHECK, MessageType.SHUTDOWN, MessageType.CANCEL, MessageType.FLUSH,
        MessageType.CONFIG_UPDATE, MessageType.START, MessageType.STOP,
    )
)  # fmt: skip
"""Commands go by the control socket, where they overtake; everything else is a block in the input channel."""


def session_name(kind: str) -> str:
    """Give a session id that nobody else has: uuid4, cut so that a socket's path stays short."""
    return f"{kind}-{os.getpid()}-{uuid.uuid4().hex[:10]}"


def folders(paths: tuple[str, ...] = ()) -> list[str]:
    """Where agents' modules are searched first: the given folders, then that of the application's script."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return [*paths, *([str(Path(file).absolute().parent)] if file and str(file).endswith(".py") else [])]


def planned(pipeline: Pipeline, **settings: Any) -> SessionPlan:
    """Plan with the environment's settings and, above them, these."""
    return pipeline.plan(resolve_settings(environ=os.environ, overrides=RuntimeConfig(**settings)))


class SpawnLauncher(LocalLauncher):
    """Lets the process inherit a part of the environment only."""

    def __init__(self, directory: Path, inherited: Callable[[str], bool]) -> None:
        super().__init__(directory, None)
        self._inherited = inherited

    def environment(self) -> dict[str, str]:
        """Give what is inherited, and what Python itself needs."""
        return {name: value for name, value in os.environ.items() if name in _NEEDED or self._inherited(name)}


class SpawnSession:
    """Owns the session of one spawned process, and is the handle's `Owner` and `Line`.

    Nobody checks or kills the process unless the application asks its handle to.
    """

    def __init__(
        self,
        plan: SessionPlan,
        config: SpawnConfig,
        options: dict[str, Any],
        on_line: Callable[[str, str, str], None],
        inherited: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`inherited` says of each variable of this process whether the new one gets it too."""
        self.session_id = session_name("spawn")
        self.exit: ExitRecord | None = None
        self.handle: SpawnedProcessHandle
        self._config, self._options = config, options
        self._input, self._output = plan.input_channel(CHILD), plan.output_channel(CHILD)
        self._on_line = on_line
        launcher = SpawnLauncher(directory_of(self.session_id, os.environ), inherited)
        terms = Terms(handle=self._handle, checked=False, exited=self._exited, failed=self._failed)
        self._supervisor = Supervisor(
            self.session_id, plan, launcher=launcher, on_log=self._printed, on_crash=lambda _: None, terms=terms
        )

    async def start(self) -> None:
        """Spawn the process and let it work; returns when its agent is made. The caller closes on errors."""
        await self._supervisor.initialize(None)
        await self._supervisor.start()

    async def close(self) -> None:
        """End the process and free everything."""
        await self._supervisor.close()

    async def send(self, message: Message) -> None:
        """Send a message of the handle: commands by the control socket, the others as a block."""
        if message.type in _CONTROL:
            await self._supervisor.command(CHILD, message)
        else:
            await self._supervisor.send(self._input, mail.to_data(message), None)

    async def next_message(self) -> Message | None:
        """Give the next message of the process; None when it has ended and all is read."""
        try:
            return mail.from_data(await self._supervisor.receive(self._output, None))
        except EndOfStream:
            return None

    def end_input(self) -> None:
        """No more input will come: the process finishes what it has and ends itself."""
        self._supervisor.end(self._input)

    async def end_output(self) -> None:
        """After the process' death: whatever it had sent can still be read, then the output ends."""
        if not await self._supervisor.end_output(CHILD, self._output):
            self._supervisor.fail_ports(RinglineError("what the process held could not be reclaimed"))

    def expect_end(self) -> None:
        """From now on the end of the process is no crash."""
        self._supervisor.crew.members[CHILD].stopping = True

    def stderr_tail(self) -> tuple[str, ...]:
        """Give the last lines that the process wrote to stderr."""
        return tuple(self._supervisor.crew.members[CHILD].tail)

    def _handle(self, process: ZygoteProcess, on_message: Callable[[Message], None]) -> SpawnedProcessHandle:
        self._process = spawned = SpawnedProcess(process, self.end_input)
        self.handle = SpawnedProcessHandle(spawned, self, config=self._config, on_message=on_message, **self._options)
        return self.handle

    def _printed(self, node: str, stream: str, line: str) -> None:
        (self._process.stderr if stream == "stderr" else self._process.stdout).feed(line)
        self._on_line(node, stream, line)

    def _exited(self, record: ExitRecord) -> None:
        self.exit = record

    def _failed(self, error: BaseException) -> bool:
        """Take note of a failure: the process' end is none for its handle, the loss of the zygote is."""
        if self.exit is None:
            self._supervisor.fail_ports(error)
        return False
