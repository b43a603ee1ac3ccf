"""The pure decision after a node's crash: start it again, and when, or let the session fail.

The supervisor asks; time is an argument, so that tests need no clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How often a node may come back.

    `max_restarts` counts inside a sliding `window_s` (0 = for the session's whole life). The first restart is
    immediate, since most crashes are single ones; the next waits `backoff_s`, each later one twice as long up to
    `max_backoff_s`, so that a node which cannot live does not keep a core busy.
    """

    max_restarts: int = 3
    backoff_s: float = 1.0
    max_backoff_s: float = 60.0
    window_s: float = 600.0


class RestartHistory:
    """One node's restarts: `next_delay` answers a crash, `restarts` counts those of the session's life."""

    def __init__(self, policy: RestartPolicy) -> None:
        self.policy = policy
        self.restarts = 0
        self._recent: deque[float] = deque()
        self._ordered = False

    def order(self) -> None:
        """Say that the next end is ordered: the restart after it is immediate and uses up nothing."""
        self._ordered = True

    def next_delay(self, now: float) -> float | None:
        """Seconds to wait before the next start, or None when the node's restarts are used up.

        `now` is any monotonic clock in seconds. A returned delay counts as a restart.
        """
        if self._ordered:
            self._ordered = False
            self.restarts += 1
            return 0.0
        policy = self.policy
        while policy.window_s and self._recent and now - self._recent[0] > policy.window_s:
            self._recent.popleft()
        used = len(self._recent)
        if used >= policy.max_restarts:
            return None
        self._recent.append(now)
        self.restarts += 1
        if used == 0:
            return 0.0
        return min(policy.backoff_s * 2.0 ** min(used - 1, 32), policy.max_backoff_s)
