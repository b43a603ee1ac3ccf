"""The node's watchman: ends a node that is not ready in time or stalls, and sees to it that each stall leaves a stack.

`Watchdog.tick` runs in the control thread, so it also works while `process` holds the main thread. While the GIL is held nothing
of Python runs: then `faulthandler`'s own C thread, armed here ahead of time, writes the stacks, and the host's health
checks end the node.
"""

from __future__ import annotations

import faulthandler
import os
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from ringline.control.messages import Message, MessageType
from ringline.node import exits

DUMP_S: Final = 10.0
"""Busy for so long without a beat: the stacks are written, whether or not the node is then ended."""
LOOP_STALL_S: Final = 10.0
"""Default for a blocked event loop; a plain `process` has no limit by default."""
_TICK_S: Final = 2.0
_LAST_WORDS_S: Final = 0.1
"""Between the ERROR event and the exit, so that the event leaves the process."""


class Watched(Protocol):
    """What is watched: a driver."""

    @property
    def busy_since(self) -> float: ...

    def ping(self, answer: Callable[[], None]) -> bool:
        """Have the event loop call `answer`; False if there is no loop."""


class Watchdog:
    """Limits for one node. `stall_s`: None for the defaults, 0 for never."""

    def __init__(
        self, node: str, init_timeout_s: float, stall_s: float | None, send: Callable[[Message], None]
    ) -> None:
        self._node = node
        self._init_timeout_s = init_timeout_s
        self._init_ends = time.monotonic() + init_timeout_s
        self._stall_s = stall_s
        self._period_s = min(_TICK_S, stall_s / 4) if stall_s else _TICK_S
        self._send = send
        self._watched: Watched | None = None
        self._progress = "nothing reported"
        self._last_tick = 0.0
        self._armed_for = -1.0
        self._pinged_at = 0.0
        self._dying: int | None = None
        self._leave_by: tuple[float, int] | None = None

    def note(self, progress: str) -> None:
        """Remember the last progress, for the text of InitTimeout."""
        self._progress = progress

    def ready(self, watched: Watched) -> None:
        """`initialize` is over: from now on stalls are looked for."""
        self._watched = watched

    def leave_within(self, seconds: float, code: int) -> None:
        """End the process by force if it has not ended itself by then: a failed node's cleanup may hang."""
        self._leave_by = (time.monotonic() + seconds, code)

    def tick(self) -> float:
        """Look once; returns in how many seconds to look again."""
        now = time.monotonic()
        gap, self._last_tick = now - (self._last_tick or now), now
        if self._dying is not None:
            os._exit(self._dying)  # nothing is flushed: the main thread may hold any lock
        if self._leave_by is not None:
            due, code = self._leave_by
            return self._die(code) if now >= due else min(_TICK_S, due - now)
        if self._watched is None:
            return self._watch_init(now)
        if gap > 2 * self._period_s + 1.0:  # this thread did not run either: the process was stopped, or the GIL held
            self._armed_for, self._pinged_at = -1.0, 0.0
        self._watch_work(self._watched, now)
        return _LAST_WORDS_S if self._dying is not None else self._period_s

    def _watch_init(self, now: float) -> float:
        if now < self._init_ends:
            self._arm(self._init_ends, self._init_ends - now + 1.0)
            return min(_TICK_S, self._init_ends - now)
        limit = f"{self._init_timeout_s:g}s"
        text = f"Node '{self._node}' failed to initialize within {limit} (last progress: {self._progress})"
        return self._end("InitTimeout", "initialize", text, exits.INIT_TIMEOUT)

    def _watch_work(self, watched: Watched, now: float) -> None:
        self._arm(watched.busy_since, DUMP_S)
        if not self._pinged_at:
            self._pinged_at = now  # before the ping: its answer may be quicker than the next line
            if not watched.ping(self._pong):
                self._pinged_at = 0.0
        since, limit = self._pinged_at or now, LOOP_STALL_S
        if self._stall_s is not None:
            since, limit = min(since, watched.busy_since or now), self._stall_s
        if limit and now - since > limit:
            text = f"Node '{self._node}' was busy for {now - since:.0f}s without a sign of progress (limit {limit:g}s)"
            self._end("Stalled", "process", text, exits.STALLED)

    def _pong(self) -> None:
        self._pinged_at = 0.0

    def _arm(self, work: float, seconds: float) -> None:
        """Have the stacks written unless this is called again in time: not for the same piece of work, though."""
        if work == 0.0 or work != self._armed_for:
            self._armed_for = work
            faulthandler.dump_traceback_later(seconds, file=2)

    def _end(self, reason: str, phase: str, text: str, code: int) -> float:
        payload: dict[str, Any] = {
            "reason": reason,
            "phase": phase,
            "error": text,
            "file": "",
            "line": 0,
            "traceback": "",
        }
        self._send(Message(MessageType.ERROR, payload))
        os.write(2, f"{reason}: {text}\n".encode())
        faulthandler.dump_traceback(file=2)
        return self._die(code)

    def _die(self, code: int) -> float:
        self._dying = code
        return _LAST_WORDS_S
