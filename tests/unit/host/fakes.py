"""A process and a control line that tests steer by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from ringline.control.messages import Message, MessageType
from ringline.graph.nodeconfig import NodePlan
from ringline.host.handle import NodeHandle, SpawnConfig
from ringline.host.member import Member
from ringline.host.restart import RestartPolicy

Reaction = Callable[["FakeProcess", int], None]


class FakeProcess:
    """Ends when a signal in `dies_of` comes, with 128 + signal."""

    def __init__(self, dies_of: Iterable[int] = (9, 15)) -> None:
        self.pid: int | None = 4711
        self.returncode: int | None = None
        self.signals: list[int] = []
        self._dies_of = set(dies_of)
        self._ended = asyncio.Event()

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        self.signals.append(number)
        if number in self._dies_of and self.returncode is None:
            self.finish(128 + number)

    def finish(self, code: int) -> None:
        self.returncode = code
        self._ended.set()


class FakeLine:
    """Keeps what is sent; `answer` maps a command's type to what the node does with it."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.reactions: dict[MessageType, Callable[[Message], None]] = {}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        reaction = self.reactions.get(message.type)
        if reaction is not None:
            asyncio.get_running_loop().call_soon(reaction, message)

    def types(self) -> list[MessageType]:
        return [message.type for message in self.sent]


def handle_of(process: FakeProcess, line: FakeLine | None, **options: object) -> NodeHandle:
    config = SpawnConfig(health_check_interval=0.01, shutdown_timeout=0.05, health_check_timeout=0.05)
    return NodeHandle(process, line, config=config, process_id="p1", **options)  # type: ignore[arg-type]


def member_of(name: str, process: FakeProcess, line: FakeLine) -> Member:
    member = Member(NodePlan(name, "gain"), RestartPolicy())
    member.begin(1, handle_of(process, line), process)  # type: ignore[arg-type]
    return member
