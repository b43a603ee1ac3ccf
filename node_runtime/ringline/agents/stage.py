"""Where agents live: made, stepped, snapshotted. The same in a worker's process and, for the executors inline and thread, here.

An agent's class needs no base class. It has `step(observation)` (or `run`, `invoke`, or can be called), perhaps `snapshot()`
and `restore(state)`, and is given what its constructor asks for by name: agent_id, state (a `SharedState`), report (for progress).
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ringline.agents import targets
from ringline.agents.state import SharedState
from ringline.agents.values import pack, unpack
from ringline.errors import DataError

SNAPSHOT: Final = "@agent/"
"""Before an agent's id: its key in shared state."""
Report = Callable[[int, float, str], None]


@dataclass(slots=True)
class Seat:
    """One agent. `past` is the last step that its snapshot knows, with the answer."""

    agent: Any
    work: Callable[[Any], Any]
    keeps: bool
    step: int = 0
    past: tuple[int, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step: packed `result`, or `error` with its `traceback`; `kind` is done, failed or unsendable."""

    kind: str
    result: bytes = b""
    error: str = ""
    traceback: str = field(default="", repr=False)


class Stage:
    """Agents by id. `finish` completes what an async agent returned; `report(step, fraction, message)` tells of progress."""

    def __init__(self, state: SharedState | None, finish: Callable[[Awaitable[Any]], Any], report: Report) -> None:
        self._state = state
        self._finish = finish
        self._report = report
        self._seats: dict[str, Seat] = {}

    def add(self, agent_id: str, target: str, arguments: dict[str, Any], *, again: bool) -> dict[str, Any]:
        """Make an agent; `again`: one of that id lived before. Says whether it keeps snapshots and whether it has its old state."""
        offered = {"agent_id": agent_id, "state": self._state}
        reporter = _Reporter(self._report)
        agent = targets.make(target, arguments, **offered, report=reporter)
        keeps = callable(getattr(agent, "snapshot", None)) and callable(getattr(agent, "restore", None))
        seat = Seat(agent, targets.work_of(agent, target), keeps and self._state is not None)
        reporter.seat = seat
        restored = again and seat.keeps and self._restore(agent_id, seat)
        self._seats[agent_id] = seat
        return {"keeps": seat.keeps, "restored": restored}

    def drop(self, agent_id: str) -> None:
        """Forget an agent, and its snapshot."""
        seat = self._seats.pop(agent_id, None)
        if seat is not None and seat.keeps and self._state is not None:
            self._state.delete(SNAPSHOT + agent_id)

    def step(self, number: int, agent_id: str, observation: bytes | memoryview) -> Outcome:
        """Run one step. Whatever the agent raises is an outcome; one that its snapshot has already is not run again."""
        seat = self._seats.get(agent_id)
        if seat is None:
            return Outcome("failed", error="it could not be made in this worker")
        if seat.past is not None and seat.past[0] == number:
            return Outcome("done", seat.past[1])
        seat.step = number
        try:
            result = seat.work(unpack(observation))
            if inspect.isawaitable(result):
                result = self._finish(result)
            packed = pack(result)
            if seat.keeps:
                self._keep(agent_id, seat, number, packed)
        except DataError as error:
            return Outcome("unsendable", error=str(error))
        except Exception as error:
            return failed(error)
        return Outcome("done", packed)

    def _keep(self, agent_id: str, seat: Seat, number: int, answer: bytes) -> None:
        assert self._state is not None
        kept = {"state": seat.agent.snapshot(), "step": number, "answer": unpack(answer)}
        self._state.put(SNAPSHOT + agent_id, kept)

    def _restore(self, agent_id: str, seat: Seat) -> bool:
        assert self._state is not None
        kept = self._state.get(SNAPSHOT + agent_id)
        if kept is None:
            return False
        seat.agent.restore(kept["state"])
        seat.past = (kept["step"], pack(kept["answer"]))
        return True


class _Reporter:
    """What an agent calls to tell how far its step is: ``report(0.5, "half way")``."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.seat: Seat | None = None

    def __call__(self, fraction: float, message: str = "") -> None:
        if self.seat is not None:
            self._report(self.seat.step, min(1.0, max(0.0, float(fraction))), str(message))


def failed(error: BaseException) -> Outcome:
    """Put what an agent raised into words."""
    last = traceback.format_exception_only(error)[-1].strip()
    return Outcome("failed", error=last, traceback="".join(traceback.format_exception(error))[-32768:])
