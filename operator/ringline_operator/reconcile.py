"""The loop: take a pipeline, look, decide, act, and look again when something becomes due."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from ringline_operator.act import Actor, NotLeader
from ringline_operator.actions import PatchPipeline
from ringline_operator.decide import Decision, Memory, World, decide
from ringline_operator.kube import ApiError
from ringline_operator.lease import Lease
from ringline_operator.metrics import OperatorMetrics
from ringline_operator.observe import Cache, Group, Key, WorkQueue
from ringline_operator.poll import Poller
from ringline_operator.settings import OperatorSettings
from ringline_operator.status import pipeline_status

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
RELIST_PAUSE_SECONDS = 5.0
PORTION = 96
"""Actions between two looks: a claim that comes while a thousand sessions are made waits for so many at most."""


class Reconciler:
    """Runs the workers and the periodic resync while the lease is held."""

    def __init__(
        self, cache: Cache, queue: WorkQueue, actor: Actor, *, lease: Lease, poller: Poller, settings: OperatorSettings,
        metrics: OperatorMetrics, relist: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._cache = cache
        self._queue = queue
        self._actor = actor
        self._lease = lease
        self._poller = poller
        self._settings = settings
        self._metrics = metrics
        self._relist = relist
        self._listed = asyncio.Event()
        self._memories: dict[Key, Memory] = {}
        self._failures: dict[Key, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to work."""
        workers = [self._work() for _ in range(self._settings.workers)]
        self._tasks = [asyncio.create_task(work, name="ringline-reconcile") for work in (*workers, self._resync())]

    async def stop(self) -> None:
        """Stop after the request that is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._queue.close()

    async def _resync(self) -> None:
        """List everything when this operator begins to act, and once in a period: no look before the first list."""
        while True:
            await self._lease.taken.wait()
            pause = self._settings.resync_seconds
            try:
                await self._relist()
                self._listed.set()
            except ApiError as error:
                pause = error.retry_after or RELIST_PAUSE_SECONDS
                log.warning("the resources could not be listed", extra={"error": str(error), "pause_s": pause})
            except Exception:
                pause = RELIST_PAUSE_SECONDS
                log.exception("the resources could not be listed")
            for key in list(self._cache.groups):
                self._queue.add(key)
            for key in self._memories.keys() - self._cache.groups.keys():
                del self._memories[key]
            await asyncio.sleep(pause)

    async def _work(self) -> None:
        while True:
            await self._listed.wait()
            await self._lease.taken.wait()
            key = await self._queue.take()
            begun = time.monotonic()
            try:
                await self.look(key)
                self._failures.pop(key, None)
            except NotLeader:
                self._queue.add_after(key, self._settings.renew_seconds)
            except ApiError as error:
                self._later(key, error)
            except Exception:
                log.exception("a pipeline could not be reconciled", extra={"namespace": key[0], "pipeline": key[1]})
                self._later(key, None)
            finally:
                self._metrics.reconciled(time.monotonic() - begun)
                self._queue.done(key)

    def _later(self, key: Key, error: ApiError | None) -> None:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (count - 1), LONGEST_PAUSE_SECONDS)
        if error is not None:
            pause = max(pause, error.retry_after or 0.0)
            log.warning("the API server refused", extra={"pipeline": key[1], "error": str(error), "pause_s": pause})
        self._queue.add_after(key, pause)

    async def look(self, key: Key) -> Decision:
        """Reconcile one pipeline once; a great many actions are carried out in portions, with a fresh look at each."""
        now = time.time()
        world = self._cache.world(key)
        memory = self._memories.setdefault(key, Memory())
        decision = decide(world, now, memory)
        portion = decision.actions[:PORTION]
        await self._actor.run(key, portion)
        self._metrics.became_ready(world, portion, now)
        if len(decision.actions) > PORTION:
            decision.again_in(0.0)
        await self._summarize(key, now)
        if self._poller.watch(key, self._cache.groups.get(key, Group())):
            decision.again_in(self._settings.poll_seconds)
        if decision.requeue_after is not None:
            self._queue.add_after(key, decision.requeue_after)
        return decision

    async def _summarize(self, key: Key, now: float) -> None:
        world: World = self._cache.world(key)
        group = self._cache.groups.get(key)
        if world.pipeline is None or world.pipeline.deleting or group is None or group.template is None:
            return
        status = pipeline_status(world.pipeline, world.sessions, now, group.template.shm)
        await self._actor.run(key, [PatchPipeline(status)])
