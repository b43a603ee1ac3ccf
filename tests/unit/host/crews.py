"""A session's nodes without processes: a zygote, a control server and an arena that tests steer by hand."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ringline import Pipeline, RuntimeConfig
from ringline.control.messages import Message, MessageType
from ringline.errors import ControlError
from ringline.graph.plan import SessionPlan
from ringline.graph.session_plan import SessionPolicy
from ringline.host.crew import Crew, Links, Listeners
from ringline.host.exits import ExitRecord
from ringline.host.launch import Launch
from ringline.host.launcher import Past
from ringline.host.member import Member
from ringline.host.status import Progress
from ringline.host.terms import Terms


def planned(
    *names: str, policy: SessionPolicy | None = None, memory: int | None = None, **settings: Any
) -> SessionPlan:
    """Plan nodes in a row with an input at the first and an output at the last."""
    pipeline = Pipeline("p")
    for name in names:
        pipeline.add_node("anything", name)
    for first, second in itertools.pairwise(names):
        pipeline.connect(first, "output", second, "input")
    pipeline.input("in", to=f"{names[0]}.input").output("out", from_=f"{names[-1]}.output")
    values: dict[str, Any] = {"max_message_size": 1 << 16, "channel_capacity": 4, "init_timeout_secs": 60.0}
    plan = pipeline.plan(RuntimeConfig(**(values | settings)))
    nodes = tuple(dataclasses.replace(node, memory_limit_bytes=memory) for node in plan.nodes)
    return dataclasses.replace(plan, nodes=nodes, session=policy or SessionPolicy())


class FakeZygotes:
    """Keeps its orders."""

    def __init__(self) -> None:
        self.spawned: list[tuple[str, int]] = []
        self.environments: list[Mapping[str, str]] = []
        self.signals: list[tuple[str, int, int]] = []
        self.steps: list[str] = []
        self.fails_at: dict[str, Exception] = {}

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.fails_at:
            raise self.fails_at[name]

    async def start(self) -> None:
        self._step("start")

    async def present(self) -> None:
        self._step("present")

    async def close(self) -> None:
        self._step("close")

    def spawn(self, node: str, epoch: int, environ: Mapping[str, str], argv: Sequence[str] | None) -> None:
        self.spawned.append((node, epoch))
        self.environments.append(environ)

    def signal(self, node: str, epoch: int, number: int) -> None:
        self.signals.append((node, epoch, number))


class FakeControl:
    """Keeps commands; a node in `away` has not dialed."""

    def __init__(self, *_: object) -> None:
        self.sent: list[tuple[str, MessageType]] = []
        self.expected: list[tuple[str, int]] = []
        self.away: set[str] = set()
        self.tries = 0

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def expect(self, node: str, epoch: int) -> None:
        self.expected.append((node, epoch))

    async def send(self, node: str, message: Message) -> None:
        self.tries += 1
        if node in self.away:
            raise ControlError(f"node '{node}' is not connected; its {message.type} was not sent")
        self.sent.append((node, message.type))

    def kinds(self, node: str) -> list[MessageType]:
        return [kind for name, kind in self.sent if name == node]


class FakeArena:
    """Epochs, fences and reclaims of nodes; a reclaim that works begins the next epoch."""

    def __init__(self, nodes: Sequence[str], channels: Sequence[str] = ()) -> None:
        self.channels = channels
        self.epochs = dict.fromkeys(nodes, 1)
        self.fenced: list[str] = []
        self.held: dict[str, int] = {}
        """How often a dead node's lock is still seen."""
        self.busy_neighbours: dict[str, int] = {}
        self.attached: set[str] = set()
        self.ended: set[str] = set()
        self.queued: dict[str, int] = {}

    def epoch_of(self, node: str) -> int:
        return self.epochs[node]

    def fence(self, node: str) -> bool:
        self.fenced.append(node)
        return True

    def fenced_nodes(self) -> list[str]:
        return list(self.fenced)

    def node_stats(self) -> dict[str, Any]:
        return {node: SimpleNamespace(attached=node in self.attached) for node in self.epochs}

    def channel_stats(self) -> dict[str, Any]:
        return {
            name: SimpleNamespace(ended=name in self.ended, current_occupancy=self.queued.get(name, 0))
            for name in self.channels
        }

    def lock_held(self, node: str) -> bool:
        return self._counted(self.held, node)

    def reclaim(self, node: str, *, keep_queue: bool) -> bool:
        assert keep_queue
        if self._counted(self.busy_neighbours, node):
            return False
        self.epochs[node] += 1
        return True

    def _counted(self, counts: dict[str, int], node: str) -> bool:
        counts[node] = counts.get(node, 0) - 1
        return counts[node] >= 0


class Scene:
    """A crew with everything around it, and what it told."""

    def __init__(self, plan: SessionPlan, terms: Terms | None = None) -> None:
        names = [node.name for node in plan.nodes]
        self.progress: list[Progress] = []
        self.lines: list[tuple[str, str, str]] = []
        self.crashes: list[ExitRecord] = []
        self.exits: list[ExitRecord] = []
        self.failures: list[BaseException] = []
        self.ends = 0
        self.busy: set[str] = set()
        told = Listeners(
            self.progress.append,
            lambda *line: self.lines.append(line),
            self.crashes.append,
            self.exits.append,
            self.failures.append,
            self._ended,
            lambda node: node in self.busy,
        )
        self.crew = Crew("s1", plan, told, terms)
        self.arena, self.zygotes, self.control = (
            FakeArena(names, [channel.name for channel in plan.channels]),
            FakeZygotes(),
            FakeControl(),
        )
        launch = Launch("s1", Path("/dev/shm/s1"), "secret", None, dict.fromkeys(names, Path("python")))
        self.links = Links(self.arena, self.zygotes, self.control, launch)  # type: ignore[arg-type]

    def _ended(self) -> None:
        self.ends += 1

    def launch(self, past: Past | None = None) -> None:
        self.crew.launch(self.links, past)

    async def running(self) -> Scene:
        """Bring every node to work."""
        self.launch()
        for name in self.crew.members:
            self.came_up(name)
        await self.crew.all_ready()
        await self.crew.start()
        return self

    def member(self, name: str) -> Member:
        return self.crew.members[name]

    def came_up(self, name: str) -> None:
        self.event("spawned", name, pid=4711)
        self.say(name, MessageType.PROGRESS, {"status": "ready", "progress": 1.0})
        self.say(name, MessageType.READY)

    def say(self, name: str, kind: MessageType, payload: dict[str, Any] | None = None) -> None:
        self.crew.heard(name, Message(kind, payload or {}))

    def event(self, kind: str, name: str, *, epoch: int | None = None, body: bytes = b"", **fields: Any) -> None:
        if epoch is None:
            epoch = self.member(name).epoch
        self.crew.zygote_event({"ev": kind, "node": name, "epoch": epoch, **fields}, body)

    def dies(self, name: str, code: int = 137, signal: str | None = "SIGKILL", **fields: Any) -> None:
        """Report an exit; by SIGKILL unless said otherwise."""
        self.event("exit", name, pid=4711, code=code, signal=signal if code >= 128 else None, oom=False, **fields)

    async def until(self, true: Any) -> None:
        """Let the loop turn until something holds."""
        while not true():
            await asyncio.sleep(0.001)

    def states(self) -> dict[str, str]:
        return {name: member.state for name, member in self.crew.members.items()}
