"""The loop: take a pipeline, look, decide, hand out what is to be done, and look again when something becomes due.

A look waits for nothing. What it decides is carried out behind it by `hands`, and each end asks for another look.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from ringline_operator.act import Actor, NotLeader, Overtaken
from ringline_operator.actions import Action, PatchPipeline, identity, subject
from ringline_operator.decide import Decision, Memory, decide
from ringline_operator.hands import Chain, Hands
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
SUMMARY_PAUSE_SECONDS = 0.5
"""Between two writings of a pipeline's own status: it changes with each of its sessions."""
REST, SHORT_REST_SECONDS, LEAST_REST = 6.0, 0.02, 2.0
"""After a look at a great pipeline, which takes milliseconds, six times as long belongs to others, but not more than 20 ms
for which a claim would wait, and never less than twice as long."""
Refused = tuple[str, str, str]
"""An action that was refused: see `identity`."""
API: Refused = ("*", "", "")
"""Stands for the API server where failures are counted."""
LOOK: Refused = ("look", "", "")
"""Stands for a look that failed by itself."""


class Reconciler:
    """Runs the workers and the periodic resync while the lease is held."""

    def __init__(
        self, cache: Cache, queue: WorkQueue, actor: Actor, *, lease: Lease, poller: Poller, settings: OperatorSettings,
        metrics: OperatorMetrics, relist: Callable[[], Awaitable[None]], summary_pause: float = SUMMARY_PAUSE_SECONDS,
    ) -> None:  # fmt: skip
        self._cache = cache
        self._queue = queue
        self._summary_pause = summary_pause
        self.hands = Hands(actor.act, self._ended, settings.workers)
        self._lease = lease
        self._poller = poller
        self._settings = settings
        self._metrics = metrics
        self._relist = relist
        self._listed = asyncio.Event()
        self._memories: dict[Key, Memory] = {}
        self._failures: dict[Key, dict[Refused, tuple[int, float]]] = {}
        """How often an action was refused in a row, and until when it is not tried again (monotonic seconds)."""
        self._summary_due: dict[Key, float] = {}
        self._unjudged: set[Key] = set()
        """Pipelines with sessions that the last look left alone, because they were under way."""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to work."""
        self._tasks = [asyncio.create_task(work, name="ringline-reconcile") for work in (self._work(), self._resync())]

    async def stop(self) -> None:
        """Stop looking, and what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.hands.stop()
        self._queue.close()

    async def _resync(self) -> None:
        """List everything when this operator begins to act, and once in a period: no look before the first list."""
        while True:
            await self._lease.taken.wait()
            self._lease.begun.clear()
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
            self._forget_what_is_gone()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    # Lost and taken again: nobody knows what was missed, and no watch tells of what was deleted meanwhile.
                    await self._lease.begun.wait()

    def _forget_what_is_gone(self) -> None:
        for key in self._memories.keys() - self._cache.groups.keys():
            del self._memories[key]
            self._summary_due.pop(key, None)
        for key, failures in list(self._failures.items()):
            self._drop_old(key, failures)
            if key not in self._cache.groups:
                self._failures.pop(key, None)

    def _drop_old(self, key: Key, failures: dict[Refused, tuple[int, float]]) -> None:
        """Forget what was not refused again for long: its session may be gone."""
        limit = time.monotonic() - 2 * LONGEST_PAUSE_SECONDS
        for what in [what for what, (_, until) in failures.items() if until < limit]:
            del failures[what]
        if not failures:
            self._failures.pop(key, None)

    async def _work(self) -> None:
        while True:
            await self._listed.wait()
            await self._lease.taken.wait()
            key = await self._queue.take()
            begun = time.monotonic()
            try:
                self.look(key)
            except Exception:
                log.exception("a pipeline could not be reconciled", extra={"namespace": key[0], "pipeline": key[1]})
                self._memories.pop(key, None)
                self._later(key, LOOK, None)
            finally:
                took = time.monotonic() - begun
                self._metrics.reconciled(took)
                self._queue.done(key, rest_after(took))

    def _ended(self, chain: Chain, error: Exception | None) -> None:
        """Take in how a chain of actions ended."""
        match error:
            case None:
                self._metrics.acted(time.monotonic() - chain.given, urgent=chain.urgent)
                self._succeeded(chain)
                if chain.key in self._unjudged or self.hands.has_room(chain.key):
                    self._unjudged.discard(chain.key)
                    self._queue.add(chain.key)
            case Overtaken():
                self._queue.add(chain.key)
            case NotLeader():
                self.hands.drop(chain.key)
                self._queue.add_after(chain.key, self._settings.renew_seconds)
            case ApiError() if error.passing:
                self.hands.drop(chain.key)
                self._later(chain.key, API, error)
            case ApiError():
                self._later(chain.key, _which(chain), error)
            case _:
                log.error("an action failed", exc_info=error, extra={"pipeline": chain.key[1], "about": chain.subject})
                self._later(chain.key, _which(chain), None)

    def _succeeded(self, chain: Chain) -> None:
        failures = self._failures.get(chain.key)
        if failures:
            for what in (API, *map(identity, chain.actions)):
                failures.pop(what, None)
            self._drop_old(chain.key, failures)

    def _later(self, key: Key, what: Refused, error: ApiError | None) -> None:
        """Look again after a pause that doubles from failure to failure; those that come together count once."""
        failures = self._failures.setdefault(key, {})
        count, until = failures.get(what, (0, 0.0))
        now = time.monotonic()
        if now < until:
            return
        pause = min(FIRST_PAUSE_SECONDS * 2**count, LONGEST_PAUSE_SECONDS)
        if error is not None:
            pause = max(pause, error.retry_after or 0.0)
            log.warning("the API server refused", extra={"pipeline": key[1], "error": str(error), "pause_s": pause})
        failures[what] = count + 1, now + pause
        self._queue.add_after(key, pause)

    def look(self, key: Key) -> Decision:
        """Look at one pipeline once, and hand out what is to be done."""
        now = time.time()
        if self.hands.under_way(key):
            self._unjudged.add(key)
        world = self._cache.world(key, self.hands.under_way(key))
        decision = decide(world, now, self._memories.setdefault(key, Memory()))
        claims = frozenset(session.name for session in world.sessions if session.is_claim)
        self._summarize(key, now, decision)
        self.hands.give(key, self._allowed(key, decision), claims)
        if self._poller.watch(key, self._cache.groups.get(key, Group())):
            decision.again_in(self._settings.poll_seconds)
        if decision.requeue_after is not None:
            self._queue.add_after(key, decision.requeue_after)
        return decision

    def _allowed(self, key: Key, decision: Decision) -> list[Action]:
        """Leave out what was refused a moment ago, and what follows upon it: a busy pipeline has many looks a second."""
        failures = self._failures.get(key)
        if not failures:
            return decision.actions
        now = time.monotonic()
        held: set[str] = set()
        allowed = []
        for action in decision.actions:
            until = failures.get(identity(action), (0, 0.0))[1]
            if until > now:
                held.add(subject(action))
                decision.again_in(until - now)
            if subject(action) not in held:
                allowed.append(action)
        return allowed

    def _summarize(self, key: Key, now: float, decision: Decision) -> None:
        group = self._cache.groups.get(key)
        if group is None or group.pipeline is None or group.pipeline.deleting or group.template is None:
            return
        wait = self._summary_due.get(key, 0.0) - time.monotonic()
        if wait > 0:
            decision.again_in(wait)
            return
        self._summary_due[key] = time.monotonic() + self._summary_pause
        status = pipeline_status(group.pipeline, tuple(group.sessions.values()), now, group.template.shm)
        if status != group.pipeline.manifest.get("status"):
            decision.add(PatchPipeline(status))


def _which(chain: Chain) -> Refused:
    return identity(chain.at) if chain.at is not None else (chain.subject, "", "")


def rest_after(took: float) -> float:
    """Return the seconds for which a pipeline is not looked at again, after a look that took so long."""
    return max(min(REST * took, SHORT_REST_SECONDS), LEAST_REST * took)
