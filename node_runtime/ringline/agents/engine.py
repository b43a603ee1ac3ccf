"""The supervisor of sessions, with what a handle and a pool need beside: their own handle class, and their own word on exits.

A pool or a handle is a session whose nodes are agents' processes: same zygote, control link, arena and restarts.
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ringline.agents import mail
from ringline.agents.handle import SpawnedProcess, SpawnedProcessHandle
from ringline.control.messages import Message, MessageType
from ringline.errors import EndOfStream, RinglineError
from ringline.graph.pipeline import Pipeline
from ringline.graph.session_plan import SessionPlan
from ringline.host.crew import Crew
from ringline.host.directory import directory_of
from ringline.host.exits import ExitRecord
from ringline.host.handle import NodeHandle, SpawnConfig
from ringline.host.launcher import LocalLauncher
from ringline.host.member import Member
from ringline.host.supervisor import Supervisor
from ringline.settings import RuntimeConfig, resolve_settings

CHILD = "child"
"""The one node of a handle's session."""
_CONTROL = frozenset(
    (
        MessageType.HEALTH_CHECK, MessageType.SHUTDOWN, MessageType.CANCEL, MessageType.FLUSH,
        MessageType.CONFIG_UPDATE, MessageType.START, MessageType.STOP,
    )
)  # fmt: skip
"""Commands go by the control socket, where they overtake; everything else is a block in the input channel."""
HandleFactory = Callable[[Member, NodeHandle], NodeHandle]


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


class SpawnCrew(Crew):
    """A crew of one, whose handle belongs to the application: no checks and no kills that it did not ask for."""

    handle: SpawnedProcessHandle

    def adopt(self, config: SpawnConfig, options: dict[str, Any], supervisor: SpawnSupervisor) -> None:
        """Say how the handle is to be made; before the launch."""
        self._config, self._options, self._supervisor = config, options, supervisor

    def _spawn(self, member: Member) -> None:
        super()._spawn(member)
        assert member.process is not None
        member.handle = self.handle = SpawnedProcessHandle(
            SpawnedProcess(member.process, self._supervisor.end_input),
            self._supervisor,
            config=self._config,
            on_message=lambda message: self._told(member, message),
            **self._options,
        )

    async def _begin_work(self, member: Member) -> None:
        if member.handle is not None:
            await self._say_start(member, member.handle)
            member.state = "running"

    def expect_end(self) -> None:
        """From now on the end of the process is no crash."""
        self.members[CHILD].stopping = True

    async def reclaimed(self) -> bool:
        """Take back what the dead process held; its messages stay."""
        return await self._reclaimed(self.members[CHILD])

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines that the process wrote to stderr."""
        return tuple(self.members[CHILD].tail)


class SpawnSupervisor(Supervisor):
    """Owns the session of one spawned process, and is the handle's `Line` and source of messages."""

    def __init__(
        self,
        plan: SessionPlan,
        config: SpawnConfig,
        options: dict[str, Any],
        on_line: Callable[[str, str, str], None],
    ) -> None:
        name = session_name("spawn")
        launcher = LocalLauncher(directory_of(name, os.environ), None)
        super().__init__(name, plan, launcher=launcher, on_log=on_line, on_crash=lambda _: None)
        self.own = SpawnCrew(name, plan, self._crew.tell)
        self._crew = self.own
        self.own.adopt(config, options, self)
        self.exit: ExitRecord | None = None

    async def send(self, message: Message) -> None:  # type: ignore[override]
        """Send a message of the handle: commands by the control socket, the others as a block."""
        if message.type in _CONTROL:
            assert self._control is not None
            await self._control.send(CHILD, message)
            return
        await super().send(self.plan.input_channel(CHILD), mail.to_data(message), None)

    async def next_message(self) -> Message | None:
        """Give the next message of the process; None when it has ended and all is read."""
        try:
            return mail.from_data(await self.receive(self.plan.output_channel(CHILD), None))
        except EndOfStream:
            return None

    def end_input(self) -> None:
        """No more input will come: the process finishes what it has and ends itself."""
        self.end(self.plan.input_channel(CHILD))

    async def end_output(self) -> None:
        """After the process' death: whatever it had sent can still be read, then the output ends."""
        if await self.own.reclaimed():
            self._open_arena().end(self.plan.output_channel(CHILD).name)
        else:
            await asyncio.sleep(0)
            self._fail_ports(RinglineError("what the process held could not be reclaimed"))

    def _fail_ports(self, error: BaseException) -> None:
        if self._ports is not None:
            self._ports.fail(error)

    def expect_end(self) -> None:
        """From now on the end of the process is no crash."""
        self.own.expect_end()

    def stderr_tail(self) -> tuple[str, ...]:
        """Give the last lines that the process wrote to stderr."""
        return self.own.tail

    def _exited(self, record: ExitRecord) -> None:
        self.exit = record

    def _fail(self, error: BaseException) -> None:
        """Take note of a failure: the process' end is none for its handle, the loss of the zygote is."""
        self._settle(error)
        if self.exit is None:
            self._fail_ports(error)
