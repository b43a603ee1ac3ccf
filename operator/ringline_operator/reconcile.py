"""The loop: take a pipeline, look, decide, act, and look again when something becomes due."""

from __future__ import annotations

import asyncio
import logging
import time

from ringline_operator.act import Actor, NotLeader
from ringline_operator.actions import PatchPipeline
from ringline_operator.decide import Decision, World, decide
from ringline_operator.kube import ApiError
from ringline_operator.lease import Lease
from ringline_operator.metrics import OperatorMetrics
from ringline_operator.observe import Cache, Group, Key, WorkQueue
from ringline_operator.poll import Poller
from ringline_operator.settings import OperatorSettings
from ringline_operator.status import pipeline_status

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0


class Reconciler:
    """Runs the workers and the periodic resync while the lease is held."""

    def __init__(
        self, cache: Cache, queue: WorkQueue, actor: Actor, *, lease: Lease, poller: Poller, settings: OperatorSettings,
        metrics: OperatorMetrics,
    ) -> None:  # fmt: skip
        self._cache = cache
        self._queue = queue
        self._actor = actor
        self._lease = lease
        self._poller = poller
        self._settings = settings
        self._metrics = metrics
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
        while True:
            await self._lease.taken.wait()
            for key in list(self._cache.groups):
                self._queue.add(key)
            await asyncio.sleep(self._settings.resync_seconds)

    async def _work(self) -> None:
        while True:
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
        """Reconcile one pipeline once."""
        now = time.time()
        world = self._cache.world(key)
        decision = decide(world, now)
        await self._actor.run(key, decision.actions)
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
