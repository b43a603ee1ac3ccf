"""How many of a pool's threads work at once: as many as keep a processor busy, for more only take Python's lock from each other.

`hands` looks now and then and asks. Threads that compute hand the lock to and fro at every call that lets go of it, which costs more
than they gain; threads that wait gain from every other one. So a crowd that computes is tried with one thread: that one shows, with
nobody to wait for, how much of its work is waiting, and from that follows how many there should be. Where it hardly waits, two are
tried now and then: what computes without the lock gets two processors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_FIRST_S: Final = 0.05
"""Before the first look."""
_LOOK_S: Final = 0.02
_STEADY_S: Final = 0.05
"""Between two looks while fewer work than there are."""
_LONGEST_S: Final = 4.0
"""Between two trials whose outcome does not change, or two looks at those who hardly compute."""
_DRAINS: Final = 20
"""So much longer than the ending of all but one lasts the time until the next trial, but no longer than the longest."""
_ENOUGH_S: Final = 0.02
"""Of work tells how much of it is waiting."""
_COMPUTING: Final = 0.3
"""Of a processor: crowds that use less need not be tried."""
_ALONE: Final = 0.85
"""Of its time one that works alone computes. Measured with steps of 2 ms in numpy: handing the lock over costs others a sixth."""
_SPARE: Final = 2.5
"""So many more than would do if one began to wait whenever another one ends to. Measured with steps that wait for a third of 5 ms."""
_BOTH: Final = 1.3
"""Processors are in use by two who do not wait for each other; with one lock for both it is one."""
_FULL: Final = 0.9
"""Of the time both have to be at work, or the trial says nothing."""
_TRIALS: Final = 5
_LONG_S: Final = 0.1
"""A single piece of work must not keep the others waiting for longer; several at once take longer for each."""
_SHORT_S: Final = 0.0002
"""Shorter work is done by one sooner than by several that wake each other."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What threads did since the last look, in seconds.

    `busy_s`: in work, all threads together; of that `run_s` on a processor and `queued_s` in the queue for one. `oldest_s`: since the
    oldest work that goes on was begun. `ended`: pieces of work that were. `active`: threads at work now. `crowded`: work came while
    there was other work.
    """

    wall_s: float
    busy_s: float
    run_s: float
    queued_s: float = 0.0
    oldest_s: float = 0.0
    ended: int = 0
    active: int = 1
    crowded: bool = True

    @property
    def computing(self) -> bool:
        """Whether they want enough of a processor to get in each other's way."""
        return self.run_s >= _COMPUTING * self.wall_s


class Limit:
    """`allowed` of `most` threads may work at once; `look` again after `pause_s`."""

    def __init__(self, most: int) -> None:
        self.allowed = most
        self.pause_s = _FIRST_S
        self._most = most
        self._look = self._some
        self._dwell_s = self._trial_after_s = 4 * _FIRST_S
        self._since_s = self._drain_s = self._busy_s = self._run_s = 0.0
        self._ended = self._looks = 0

    def look(self, seen: Seen) -> None:
        """Set both by what was seen since the last look."""
        self._since_s += seen.wall_s
        self._look(seen)

    def _some(self, seen: Seen) -> None:
        """Look whether as many as were found to be right still are."""
        if not seen.computing:
            self.allowed = self._most
            self.pause_s = min(_LONGEST_S, 2 * self.pause_s)
        elif seen.oldest_s > self.allowed * _LONG_S:
            self._allow(self._most)
        elif seen.crowded and self._since_s >= self._dwell_s:
            self._try_one()

    def _try_one(self) -> None:
        self.allowed, self.pause_s, self._look = 1, _LOOK_S, self._draining
        self._since_s = 0.0

    def _draining(self, seen: Seen) -> None:
        """Wait for those who have to end what they work at."""
        if seen.active <= 1:
            self._drain_s = self._since_s
            self._busy_s = self._run_s = self._since_s = self._ended = 0
            self._look = self._one
        elif not seen.computing or seen.oldest_s > self._most * _LONG_S:
            self._allow(self._most)

    def _one(self, seen: Seen) -> None:
        self._busy_s += seen.busy_s - seen.queued_s
        self._run_s += seen.run_s
        self._ended += seen.ended
        if seen.oldest_s > _LONG_S:
            self._allow(self._most)
        elif self._busy_s >= _ENOUGH_S:
            short = self._busy_s < _SHORT_S * self._ended
            share = self._run_s / self._busy_s
            if share < _ALONE and not short:
                self._allow(math.ceil(_SPARE / max(share, 0.01)))
                return
            self.pause_s = _STEADY_S
            self._busy_s = self._run_s = self._ended = 0
            if self._since_s >= self._trial_after_s and not short and self._most > 1:
                self.allowed, self.pause_s, self._look = 2, _LOOK_S, self._two
                self._looks = 0

    def _two(self, seen: Seen) -> None:
        self._looks += 1
        full = self._looks > 1 and seen.busy_s >= 2 * _FULL * seen.wall_s
        if seen.oldest_s > 2 * _LONG_S or (full and seen.run_s >= _BOTH * seen.wall_s):
            self._trial_after_s = 0.0  # the next time at once
            self._allow(self._most)
        elif full or self._looks > _TRIALS:
            self._dwell_s = 4 * _FIRST_S
            self._trial_after_s = min(_LONGEST_S, max(self._dwell_s, 2 * self._trial_after_s))
            self._try_one()

    def _allow(self, count: int) -> None:
        """Let so many work, and try one alone again after a while that grows."""
        self.allowed, self.pause_s, self._look = min(count, self._most), _STEADY_S, self._some
        self._dwell_s = min(_LONGEST_S, max(2 * self._dwell_s, _DRAINS * self._drain_s))
        self._since_s = 0.0
