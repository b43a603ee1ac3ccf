"""The session of a pool: workers are its nodes, restarts its restarts. Tells the fleet when a worker is up or has ended."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from ringline.agents.engine import folders, planned, session_name
from ringline.data import RuntimeData
from ringline.graph.pipeline import Pipeline
from ringline.graph.session_plan import SessionPlan
from ringline.host.crew import Crew
from ringline.host.directory import directory_of
from ringline.host.exits import ExitRecord
from ringline.host.launcher import LocalLauncher
from ringline.host.member import Member
from ringline.host.restart import RestartHistory, RestartPolicy
from ringline.host.supervisor import Supervisor
from ringline.shm import Arena

RECYCLED: Final = "Recycled"
TIMED_OUT: Final = "StepTimeout"
_BACKOFF_S: Final = 0.05
"""Between the second and the third start of a worker within ten minutes; doubles up to 5 s."""


class Fleet(Protocol):
    """Who hears of workers."""

    def worker_up(self, name: str, epoch: int) -> None: ...
    def worker_ended(self, record: ExitRecord) -> None: ...
    def worker_lost(self, error: BaseException) -> None: ...


class _History(RestartHistory):
    """Restarts of one worker: one that the pool ordered costs nothing."""

    ordered = False

    def next_delay(self, now: float) -> float | None:
        if self.ordered:
            self.ordered = False
            self.restarts += 1
            return 0.0
        return super().next_delay(now)


class PoolCrew(Crew):
    """The workers of a pool."""

    fleet: Fleet

    def arrange(self, fleet: Fleet, max_restarts: int) -> None:
        """Say who is told, and how often a worker may come back; before the launch."""
        self.fleet = fleet
        for member in self.members.values():
            member.history = _History(RestartPolicy(max_restarts, _BACKOFF_S, 5.0, 600.0))

    async def _begin_work(self, member: Member) -> None:
        await super()._begin_work(member)
        if member.alive:
            self.fleet.worker_up(member.name, member.epoch)

    def end(self, worker: str, reason: str) -> None:
        """Kill a worker for a reason of the pool's own; it comes back at once."""
        member = self.members[worker]
        assert isinstance(member.history, _History)
        member.history.ordered = True
        self.kill(member, reason)


class _PoolLauncher(LocalLauncher):
    """Lets `share(directory)` make what the workers share, before any of them starts."""

    def __init__(self, directory: Path, share: Callable[[Path], None]) -> None:
        super().__init__(directory, None)
        self._share = share

    async def arena(self, plan: SessionPlan) -> Arena:
        made = await super().arena(plan)
        self._share(self.directory)
        return made


class PoolSupervisor(Supervisor):
    """Runs the session of one pool."""

    def __init__(
        self,
        plan: SessionPlan,
        fleet: Fleet,
        max_restarts: int,
        share: Callable[[Path], None],
        on_line: Callable[[str, str, str], None],
    ) -> None:
        name = session_name("pool")
        launcher = _PoolLauncher(directory_of(name, os.environ), share)
        super().__init__(name, plan, launcher=launcher, on_log=on_line, on_crash=lambda _: None)
        self.directory = launcher.directory
        self.fleet = fleet
        self.crew = PoolCrew(name, plan, self._crew.tell)
        self._crew = self.crew
        self.crew.arrange(fleet, max_restarts)

    def tell(self, worker: str, data: bytes) -> None:
        """Send a batch of orders. Raises `ChannelFullError` if there is no room now."""
        self.try_send(self.plan.input_channel(worker), RuntimeData.binary(data))

    async def hear(self, worker: str, timeout_s: float | None) -> RuntimeData:
        """Give the next batch of answers."""
        return await self.receive(self.plan.output_channel(worker), timeout_s)

    def pid(self, worker: str) -> int | None:
        """Give a worker's process id while it lives."""
        return self.crew.members[worker].pid

    def _exited(self, record: ExitRecord) -> None:
        self.fleet.worker_ended(record)

    def _fail(self, error: BaseException) -> None:
        """Take note of a failure. One worker's last end is not the pool's, unless it was the last worker."""
        self.fleet.worker_lost(error)

    def give_in(self, error: BaseException) -> None:
        """Fail for good."""
        super()._fail(error)


def plan_of(workers: int, threads: int, paths: tuple[str, ...], options: dict[str, Any]) -> SessionPlan:
    """Plan a pool's session: one node per worker, each with an input and an output of the session."""
    options = dict(options)
    limit = options.pop("memory_limit_mb", None)
    kind = "ThreadedWorker" if threads > 1 else "AgentWorker"
    pipeline = Pipeline("pool")
    for index in range(workers):
        name = worker_name(index)
        config = {"index": index, "workers": workers, "threads": threads}
        pipeline.add_node(f"ringline.agents.worker:{kind}", name, config, memory_limit_mb=limit)
        pipeline.input(f"in-{name}", to=f"{name}.input", capacity=64).output(
            f"out-{name}", from_=f"{name}.output", capacity=64
        )
    settings: dict[str, Any] = {
        "max_message_size": 4 << 20,
        "init_timeout_secs": 60.0,
        "cleanup_grace_period_secs": 2.0,
    }
    settings |= {"shm_segment_size": 1 << 30, "max_processes_per_session": None, "stall_timeout_secs": 0.0}
    return planned(_restarting(pipeline), extra_paths=tuple(folders(paths)), **settings | options)


def _restarting(pipeline: Pipeline) -> Pipeline:
    manifest = pipeline.to_manifest()
    manifest["spec"]["session"] = {"onNodeCrash": "RestartNode"}
    return Pipeline.from_manifest(manifest)


def worker_name(index: int) -> str:
    """Give the name of a worker, which is its node's."""
    return f"w{index}"
