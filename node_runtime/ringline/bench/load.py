"""A world's clock: agents that are due each period, one step of each at a time, and how late their answers come.

`host` drives a crowd with it. An agent whose step takes longer than its period is due again at once; steps that were missed are not
made up for, as in a world that goes on meanwhile. So no queue grows for ever, and a delay says how late the world is.
"""

from __future__ import annotations

import heapq
import queue
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

WARM: Final = 0.2
"""Share of the time that passes before steps count."""
PATIENCE_S: Final = 60.0
"""After so long without an answer a crowd is called stuck."""
Done = Callable[[int, Any], None]


class Crowd(Protocol):
    """Agents in some kind of pool.

    `settle` makes them and returns how they live, in a word. `submit` has one do a step and calls ``done(agent, result)`` from any
    thread; a result that is an exception is the step's failure.
    """

    def settle(self, agents: int, kernel: str, arguments: dict[str, Any]) -> str: ...
    def submit(self, agent: int, observation: Any, done: Done) -> None: ...
    def close(self) -> None: ...


class StuckError(Exception):
    """A crowd does not answer."""


@dataclass(slots=True)
class Sample:
    """What was seen: `steps` answered in `seconds`, the seconds from due to answered of each, and all `answers`, warm or not."""

    seconds: float
    steps: int = 0
    answers: int = 0
    delays: list[float] = field(default_factory=list)


class World:
    """`agents` of a crowd, each due every `period_s` (0: as soon as it has answered)."""

    def __init__(
        self,
        crowd: Crowd,
        agents: int,
        period_s: float,
        clock: Callable[[], float] = time.perf_counter,
        answers: queue.SimpleQueue[tuple[int, Any, float]] | None = None,
    ) -> None:
        self._crowd = crowd
        self._period_s = period_s
        self._clock = clock
        self._began = clock()
        self._next = [(self._began + period_s * agent / agents, agent) for agent in range(agents)]
        self._due: dict[int, float] = {}
        self._answers: queue.SimpleQueue[tuple[int, Any, float]] = queue.SimpleQueue() if answers is None else answers

    def run(self, seconds: float) -> Sample:
        """Let time pass, `seconds` of it counted. Raises what a step raised, `StuckError`."""
        sample = Sample(seconds)
        begin = self._clock() + seconds * WARM
        end = begin + seconds
        while (now := self._clock()) < end:
            if self._next and self._next[0][0] <= now:
                self._begin()
                wait = 0.0
            else:
                wait = min(end, self._next[0][0] if self._next else end) - now
            self._take(wait, sample, begin, end)
        while self._due:
            if not self._take(PATIENCE_S, sample, begin, end):
                raise StuckError(f"{len(self._due)} of the steps have no answer after {PATIENCE_S:g}s")
        return sample

    def _begin(self) -> None:
        due, agent = heapq.heappop(self._next)
        self._due[agent] = due
        self._crowd.submit(agent, int((due - self._began) * 1e3), self._done)

    def _done(self, agent: int, result: Any) -> None:
        self._answers.put((agent, result, self._clock()))

    def _take(self, wait_s: float, sample: Sample, begin: float, end: float) -> bool:
        """Take all answers that are there; if there are none, the first that comes within `wait_s`. False for none."""
        taken = False
        while not taken or not self._answers.empty():
            try:
                agent, result, moment = self._answers.get(block=wait_s > 0 and not taken, timeout=wait_s)
            except queue.Empty:
                return taken
            taken = True
            if isinstance(result, BaseException):
                raise result
            due = self._due.pop(agent)
            sample.answers += 1
            heapq.heappush(self._next, (max(due + self._period_s, moment), agent))
            if begin <= moment < end:
                sample.steps += 1
                sample.delays.append(moment - due)
        return taken


def steps_of(crowd: Crowd, observations: Mapping[int, Any], wait_s: float = PATIENCE_S) -> dict[int, Any]:
    """Have each agent do one step, and give the results that come in time; a step that the crowd refuses has its error for a result."""
    answers: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    results: dict[int, Any] = {}
    for agent, observation in observations.items():
        try:
            crowd.submit(agent, observation, lambda agent, result: answers.put((agent, result)))
        except Exception as error:
            results[agent] = error
    until = time.monotonic() + wait_s
    while len(results) < len(observations) and (left := until - time.monotonic()) > 0:
        try:
            agent, result = answers.get(timeout=left)
        except queue.Empty:
            break
        results[agent] = result
    return results
