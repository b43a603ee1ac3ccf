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
from ringline.host.directory import directory_of
from ringline.host.exits import ExitRecord
from ringline.host.launcher import LocalLauncher
from ringline.host.restart import RestartPolicy
from ringline.host.supervisor import Supervisor
from ringline.host.terms import Terms
from ringline.shm import Arena

RECYCLED: Final = "Recycled"
TIMED_OUT: Final = "StepTimeout"
_BACKOFF_S: Final = 0.05
"""Between the second and the third start of a worker within ten minutes; doubles up to 5 s."""


class Fleet(Protocol):
    """Who hears of workers."""

    def worker_up(self, name: str, epoch: int) -> None: ...
    def worker_ended(self, record: ExitRecord) -> None: ...
    def worker_lost(self, error: BaseException) -> bool: ...


class _PoolLauncher(LocalLauncher):
    """Lets `share(directory)` make what the workers share, before any of them starts."""

    def __init__(self, directory: Path, share: Callable[[Path], None]) -> None:
        super().__init__(directory, None)
        self._share = share

    async def arena(self, plan: SessionPlan) -> Arena:
        made = await super().arena(plan)
        self._share(self.directory)
        return made


class PoolSession:
    """Runs the session of one pool. Its methods belong to the pool's event loop, but `tell`, `pid` and `statistics`."""

    def __init__(
        self,
        plan: SessionPlan,
        fleet: Fleet,
        max_restarts: int,
        share: Callable[[Path], None],
        on_line: Callable[[str, str, str], None],
    ) -> None:
        self.plan = plan
        self.name = session_name("pool")
        launcher = _PoolLauncher(directory_of(self.name, os.environ), share)
        self.directory = launcher.directory
        names = [node.name for node in plan.nodes]
        self._inputs = {name: plan.input_channel(name) for name in names}
        self._outputs = {name: plan.output_channel(name) for name in names}
        policy = RestartPolicy(max_restarts, _BACKOFF_S, 5.0, 600.0)
        terms = Terms(
            policy=policy, began=fleet.worker_up, exited=fleet.worker_ended, failed=fleet.worker_lost
        )  # one worker's last end is not the pool's, unless it was the last worker
        self._supervisor = Supervisor(
            self.name, plan, launcher=launcher, on_log=on_line, on_crash=lambda _: None, terms=terms
        )

    async def initialize(self) -> None:
        """Start the workers and wait until they are ready."""
        await self._supervisor.initialize(None)

    async def start(self) -> None:
        """Let them work."""
        await self._supervisor.start()

    async def close(self) -> None:
        """End the workers and free everything."""
        await self._supervisor.close()

    def tell(self, worker: str, data: bytes) -> None:
        """Send a batch of orders; one thread at a time. Raises `ChannelFullError` if there is no room now."""
        self._supervisor.try_send(self._inputs[worker], RuntimeData.binary(data))

    def listen(self, worker: str, take: Callable[[RuntimeData], None]) -> None:
        """Have each batch of a worker's answers given to `take`."""
        self._supervisor.listen(self._outputs[worker], take)

    def hand_out(self, worker: str) -> None:
        """Give all answers of a dead worker to who listens, now; those of the others would not end while they work."""
        while self._supervisor.hand_out(self._outputs[worker]):
            pass

    def renew(self, worker: str, reason: str) -> None:
        """Kill a worker for a reason of the pool's own; it comes back at once."""
        self._supervisor.crew.renew(worker, reason)

    def pid(self, worker: str) -> int | None:
        """Give a worker's process id while it lives."""
        return self._supervisor.crew.members[worker].pid

    def gone(self, worker: str) -> bool:
        """Say whether a worker is dead and does not come back."""
        member = self._supervisor.crew.members[worker]
        return not member.alive and member.state != "restarting"


def plan_of(workers: int, threads: int, paths: tuple[str, ...], options: dict[str, Any]) -> SessionPlan:
    """Plan a pool's session: one node per worker, each with an input and an output of the session."""
    options = dict(options)
    limit = options.pop("memory_limit_mb", None)
    kind = "ThreadedWorker" if threads > 1 else "AgentWorker"
    pipeline = Pipeline("pool")
    for index in range(workers):
        name = worker_name(index)
        config = {"index": index, "workers": workers, "threads": threads, "max_bytes": options["max_message_size"]}
        pipeline.add_node(f"ringline.agents.worker:{kind}", name, config, memory_limit_mb=limit)
        pipeline.input(f"in-{name}", to=f"{name}.input", capacity=64).output(
            f"out-{name}", from_=f"{name}.output", capacity=64
        )
    settings: dict[str, Any] = {"init_timeout_secs": 60.0, "cleanup_grace_period_secs": 2.0}
    settings |= {"shm_segment_size": 1 << 30, "max_processes_per_session": None, "stall_timeout_secs": 0.0}
    return planned(_restarting(pipeline), extra_paths=tuple(folders(paths)), **settings | options)


def _restarting(pipeline: Pipeline) -> Pipeline:
    manifest = pipeline.to_manifest()
    manifest["spec"]["session"] = {"onNodeCrash": "RestartNode"}
    return Pipeline.from_manifest(manifest)


def worker_name(index: int) -> str:
    """Give the name of a worker, which is its node's."""
    return f"w{index}"
