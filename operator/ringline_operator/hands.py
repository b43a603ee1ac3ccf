"""Carries decisions out: chains of actions side by side, users' sessions first, pipelines in turn.

A chain is what one look decided about one session, in its order. While it waits or runs, later looks leave that session
alone; nothing waits for a whole look to be done. What finds no room is decided again when there is some.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ringline_operator.actions import Action, ClaimPod, subject
from ringline_operator.queue import Key

PATIENCE_S: Final = 0.5
"""So long nothing else is begun while users wait, then little: a burst of claims ends before, a lasting one starves nobody."""
PORTION: Final = 96
"""Chains of one pipeline that may wait: enough to keep all hands busy between two looks, few enough to be still true."""


@dataclass(slots=True, eq=False)
class Chain:
    """Actions about one session, decided at `given` (monotonic seconds); `urgent` when a user waits for it."""

    key: Key
    subject: str
    actions: tuple[Action, ...]
    urgent: bool
    given: float = field(default_factory=time.monotonic)
    at: Action | None = None
    """The action that is being carried out, or was the last."""

    @property
    def promised(self) -> str:
        """The pod that it hands to a claim, or nothing."""
        return next((action.pod for action in self.actions if isinstance(action, ClaimPod)), "")


Ended = Callable[[Chain, Exception | None], None]


class Row:
    """Chains that wait, a lane for each pipeline; the pipelines take turns."""

    def __init__(self) -> None:
        self._lanes: dict[Key, deque[Chain]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def length(self, key: Key) -> int:
        """Return how many wait of one pipeline."""
        return len(self._lanes.get(key, ()))

    def put(self, chain: Chain) -> None:
        """Let a chain wait."""
        lane = self._lanes.setdefault(chain.key, deque())
        # The pipeline's own status is what people look at: it does not wait for those before it.
        (lane.append if chain.subject else lane.appendleft)(chain)

    def next(self) -> Chain | None:
        """Take one of the pipeline whose turn it is."""
        if not self._lanes:
            return None
        key = next(iter(self._lanes))
        lane = self._lanes.pop(key)
        chain = lane.popleft()
        if lane:
            self._lanes[key] = lane
        return chain

    def drop(self, key: Key) -> deque[Chain]:
        """Take all of one pipeline."""
        return self._lanes.pop(key, deque())


class Hands:
    """At most `limit` urgent and as many other chains at once; while a user waits none of the others, later a quarter.

    So a burst of one kind neither holds up the other nor stops it. `clock` gives monotonic seconds.
    """

    def __init__(
        self, act: Callable[[Key, Action], Awaitable[None]], ended: Ended, limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._act = act
        self._ended = ended
        self._limit = limit
        self._clock = clock
        self._waited_since: float | None = None
        """Since when users have been waiting without a break."""
        self._patience: asyncio.TimerHandle | None = None
        self._urgent, self._others = Row(), Row()
        self._busy: dict[Key, dict[str, str]] = {}
        self._full: set[Key] = set()
        self._running: dict[asyncio.Task[None], Chain] = {}
        self._fatal: BaseException | None = None

    @property
    def waiting(self) -> int:
        """How many chains found no hand yet."""
        return len(self._urgent) + len(self._others)

    def under_way(self, key: Key) -> Mapping[str, str]:
        """Return the sessions of a pipeline that are being acted on, each with the pod that is promised to it."""
        return self._busy.get(key, {})

    def give(self, key: Key, actions: Iterable[Action], urgent: Collection[str] = ()) -> None:
        """Take what a look decided, but for sessions under way. `urgent`: the sessions that users wait for."""
        busy = self._busy.setdefault(key, {})
        chains: dict[str, list[Action]] = {}
        room = {row: PORTION - row.length(key) for row in (self._urgent, self._others)}
        for action in actions:
            name = subject(action)
            if name in chains:
                chains[name].append(action)
            elif name not in busy:
                row = self._urgent if name in urgent else self._others
                if name and room[row] <= 0:
                    self._full.add(key)
                    continue
                room[row] -= 1
                chains[name] = [action]
        for name, its in chains.items():
            chain = Chain(key, name, tuple(its), name in urgent)
            busy[name] = chain.promised
            (self._urgent if chain.urgent else self._others).put(chain)
        self._tidy(key)
        self._begin()

    def drop(self, key: Key) -> None:
        """Forget what waits of a pipeline: it is to be decided anew."""
        for chain in (*self._urgent.drop(key), *self._others.drop(key)):
            self._busy[key].pop(chain.subject, None)
        self._tidy(key)

    def has_room(self, key: Key) -> bool:
        """Say, once, that what found no room may come now."""
        if key not in self._full or max(self._urgent.length(key), self._others.length(key)) > self._limit:
            return False
        self._full.discard(key)
        return True

    async def idle(self) -> None:
        """Wait until nothing is under way. Raises what ended a chain and is no `Exception`: the end of a process, say."""
        while self._running:
            await asyncio.wait(tuple(self._running))
        if self._fatal is not None:
            raise self._fatal

    async def stop(self) -> None:
        """Begin nothing more, and break off what is under way: whoever comes next looks at the world anew."""
        self._urgent, self._others = Row(), Row()
        self._rest()
        tasks = tuple(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self) -> None:
        urgent = sum(1 for chain in self._running.values() if chain.urgent)
        self._fill(self._urgent, self._limit - urgent)
        urgent = sum(1 for chain in self._running.values() if chain.urgent)
        self._fill(self._others, self._spare(urgent) - (len(self._running) - urgent))

    def _spare(self, urgent: int) -> int:
        """How many others may run: while somebody waits the API server is not kept busy with what nobody waits for."""
        if not urgent:
            self._rest()
            return self._limit
        now = self._clock()
        if self._waited_since is None:
            self._waited_since = now
            self._patience = asyncio.get_running_loop().call_later(PATIENCE_S, self._begin)
        return max(1, self._limit // 4) if now - self._waited_since >= PATIENCE_S else 0

    def _rest(self) -> None:
        self._waited_since = None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _fill(self, row: Row, free: int) -> None:
        for _ in range(free):
            chain = row.next()
            if chain is None:
                return
            self._run(chain)

    def _run(self, chain: Chain) -> None:
        task = asyncio.create_task(self._carry(chain), name=f"ringline-act-{chain.subject}")
        self._running[task] = chain
        task.add_done_callback(self._done)

    async def _carry(self, chain: Chain) -> None:
        for action in chain.actions:
            chain.at = action
            await self._act(chain.key, action)

    def _done(self, task: asyncio.Task[None]) -> None:
        chain = self._running.pop(task)
        self._busy.get(chain.key, {}).pop(chain.subject, None)
        self._tidy(chain.key)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, Exception):
            self._fatal = error
            return
        self._ended(chain, error)
        self._begin()

    def _tidy(self, key: Key) -> None:
        if not self._busy.get(key):
            self._busy.pop(key, None)
