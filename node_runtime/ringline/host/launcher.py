"""What differs between a session of this machine and one in a pod: where its files lie, and who starts its nodes.

`supervisor` runs both; `LocalLauncher` gives it a directory of its own and a zygote for all nodes, `gateway_launcher` the pod's
shared directory and the zygotes of the other containers.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ringline.graph.session_plan import SessionPlan
from ringline.host import directory as directories
from ringline.host.exits import ExitRecord
from ringline.host.launch import Launch, main_script, write_plan, zygote_environment
from ringline.host.limits import check_environment, check_limits, interpreters
from ringline.host.threads import in_thread
from ringline.host.zygote_client import EventHandler, ZygoteClient
from ringline.shm import Arena


class Zygotes(Protocol):
    """Who starts and signals nodes; tells of exits by events."""

    async def start(self) -> None: ...
    async def present(self) -> None: ...
    def spawn(self, node: str, epoch: int, environ: Mapping[str, str], argv: Sequence[str] | None) -> None: ...
    def signal(self, node: str, epoch: int, number: int) -> None: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Past:
    """What a host that died left to this one: `finished` are the nodes that have ended in order, for good."""

    finished: Mapping[str, ExitRecord] = field(default_factory=dict)


class Launcher(Protocol):
    """A session's surroundings. `past`, known after `arena`: None for a session that begins here."""

    directory: Path
    token: str
    past: Past | None

    def check(self, plan: SessionPlan) -> None:
        """Refuse what can't work, before anything is made."""

    async def arena(self, plan: SessionPlan) -> Arena:
        """Make the directory with all files, and the arena."""

    def zygotes(self, session_id: str, on_event: EventHandler, on_lost: Callable[[str], None]) -> Zygotes:
        """Give somebody who starts nodes, once he is started himself."""

    def launch(self, session_id: str) -> Launch:
        """Give what all nodes are told."""

    async def release(self) -> None:
        """Free what `arena` has made; nothing if that failed."""


class LocalLauncher:
    """A directory of its own and one zygote. `script`: where node classes may be defined."""

    def __init__(self, directory: Path, script: Path | None) -> None:
        self.directory = directory
        self.token = secrets.token_hex(32)
        self.past: Past | None = None
        self._script = script
        self._arena: Arena | None = None
        self._pythons: dict[str, Path] = {}

    def check(self, plan: SessionPlan) -> None:
        check_limits(plan)
        check_environment(plan, os.environ)
        self._pythons = interpreters(plan)

    async def arena(self, plan: SessionPlan) -> Arena:
        """Claim the directory and make the arena, off the loop. A cancellation waits: `release` must find the arena."""
        made: list[Arena] = []
        try:
            await in_thread(directories.claim, self.directory, lambda where: made.append(_populate(where, plan)))
        finally:
            self._arena = made[0] if made else None
        return made[0]

    def zygotes(self, session_id: str, on_event: EventHandler, on_lost: Callable[[str], None]) -> ZygoteClient:
        return ZygoteClient(session_id, self.directory, on_event, on_lost, zygote_environment(self.environment()))

    def environment(self) -> Mapping[str, str]:
        """Give the variables that nodes inherit, less our own."""
        return os.environ

    def launch(self, session_id: str) -> Launch:
        return Launch(session_id, self.directory, self.token, self._script or main_script(), self._pythons)

    async def release(self) -> None:
        if self._arena is not None:
            await in_thread(self._arena.close)
            await in_thread(directories.release, self.directory)


def _populate(directory: Path, plan: SessionPlan) -> Arena:
    directories.check_space(directory, plan.layout.size_bytes)
    arena = Arena.create(directory, plan.layout)
    try:
        write_plan(directory, plan)
    except BaseException:
        arena.close()
        raise
    return arena
