"""Where agents live: made, stepped, snapshotted. The same in a worker's process and, for the executors inline and thread, here.

An agent's class needs no base class. It has `step(observation)` (or `run`, `invoke`, or can be called), perhaps `snapshot()`
and `restore(state)`, and is given what its constructor asks for by name: agent_id, state (a `SharedState`), report (for progress).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from ringline.agents import targets
from ringline.agents.state import SharedState
from ringline.agents.values import PLAIN, pack
from ringline.errors import DataError

SNAPSHOT: Final = "@agent/"
"""Before an agent's id: its key in shared state."""


_at_work = threading.local()


def named(record: logging.LogRecord) -> bool:
    """Say in a record of the log which agent's step wrote it; a filter for handlers, which lets everything pass."""
    agent_id = getattr(_at_work, "agent_id", None)
    if agent_id is not None and not hasattr(record, "agent_id"):
        record.agent_id = agent_id
    return True


class Surroundings(Protocol):
    """What agents live in: how their steps' news travel."""

    def finish(self, result: Awaitable[Any]) -> Any:
        """Complete what an async agent returned."""

    def progressed(self, step: Any, fraction: float, message: str) -> None:
        """Tell how far a step is; `step` is what `Stage.step` was given as its number."""

    def unwanted(self, step: Any) -> bool:
        """Say whether somebody tried to cancel a step in work."""


@dataclass(slots=True)
class Seat:
    """One agent, and the step that it does. `past` is the last step that its snapshot knows, with the answer."""

    agent: Any
    work: Callable[[Any], Any]
    keeps: bool
    step: Any = None
    past: tuple[int, Any] | None = None


class Outcome(NamedTuple):
    """What became of a step: its result as `carry` made it, or `error` with its `traceback`; `kind` is a word of `wire.KINDS`."""

    kind: str
    result: Any = None
    error: str = ""
    traceback: str = ""


UNMADE: Final = Outcome("failed", error="it could not be made in this worker")
"""The outcome of a step of an agent that is not there."""


class Stage:
    """Agents by id. `carry` makes of a result what is sent, and raises `DataError` for one that can't be.

    With `keeps`, an agent's snapshots go to the shared state after each step, so that it can go on in another process.
    """

    def __init__(
        self,
        state: SharedState | None,
        surroundings: Surroundings,
        carry: Callable[[Any], Any] = pack,
        *,
        keeps: bool = True,
    ) -> None:
        self._state = state
        self._around = surroundings
        self._carry = carry
        self._keeps = keeps and state is not None
        self._seats: dict[str, Seat] = {}

    def add(self, agent_id: str, target: str, arguments: dict[str, Any], *, again: bool) -> dict[str, Any]:
        """Make an agent; `again`: one of that id lived before. Says whether it keeps snapshots and whether it has its old state."""
        self._seats.pop(agent_id, None)
        offered = {"agent_id": agent_id, "state": self._state}
        reporter = Reporter(self._around)
        agent = targets.make(target, arguments, **offered, report=reporter)
        keeps = callable(getattr(agent, "snapshot", None)) and callable(getattr(agent, "restore", None))
        seat = Seat(agent, targets.work_of(agent, target), keeps and self._keeps)
        reporter.seat = seat
        restored = again and seat.keeps and self._restore(agent_id, seat)
        self._seats[agent_id] = seat
        return {"keeps": seat.keeps, "restored": restored}

    def drop(self, agent_id: str) -> None:
        """Forget an agent, and its snapshot."""
        seat = self._seats.pop(agent_id, None)
        if seat is not None and seat.keeps and self._state is not None:
            self._state.delete(SNAPSHOT + agent_id)

    @property
    def at_work(self) -> list[Any]:
        """The numbers of the steps in work."""
        return [step for seat in list(self._seats.values()) if (step := seat.step) is not None]

    def step(self, number: Any, agent_id: str, observation: Any) -> Outcome:
        """Run one step. Whatever the agent raises is an outcome; one that its snapshot has already is not run again.

        `number` names the step: an int where agents keep snapshots, else anything that the surroundings understand.
        """
        seat = self._seats.get(agent_id)
        if seat is None:
            return UNMADE
        if seat.past is not None and seat.past[0] == number:
            return Outcome("done", self._carry(seat.past[1]))
        seat.step = number
        _at_work.agent_id = agent_id
        try:
            result = seat.work(observation)
            if type(result) not in PLAIN and inspect.isawaitable(result):
                result = self._around.finish(result)
            return self._kept(seat, number, agent_id, result)
        except BaseException as error:
            known = isinstance(error, Exception | SystemExit | asyncio.CancelledError)
            if not known and threading.current_thread() is threading.main_thread():
                raise  # a signal, perhaps; in any other thread it is the agent's own
            return failed(error)
        finally:
            _at_work.agent_id = None
            if seat.step is number:  # inline, another caller may have begun the next
                seat.step = None

    def _kept(self, seat: Seat, number: Any, agent_id: str, result: Any) -> Outcome:
        """Prepare a result, and keep the agent's state with it."""
        try:
            carried = self._carry(result)
            if seat.keeps:
                self._keep(agent_id, seat, number, result)
        except DataError as error:
            return Outcome("unsendable", error=str(error))
        return Outcome("done", carried)

    def _keep(self, agent_id: str, seat: Seat, number: int, answer: Any) -> None:
        assert self._state is not None
        self._state.put(SNAPSHOT + agent_id, {"state": seat.agent.snapshot(), "step": number, "answer": answer})

    def _restore(self, agent_id: str, seat: Seat) -> bool:
        assert self._state is not None
        kept = self._state.get(SNAPSHOT + agent_id)
        if kept is None:
            return False
        seat.agent.restore(kept["state"])
        seat.past = (kept["step"], kept["answer"])
        return True


class Reporter:
    """What an agent is given as `report`: ``report(0.5, "half way")`` tells how far its step is."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self.seat: Seat | None = None

    def __call__(self, fraction: float, message: str = "") -> None:
        step = self.seat.step if self.seat is not None else None
        if step is not None:
            self._around.progressed(step, min(1.0, max(0.0, float(fraction))), str(message))

    @property
    def cancelled(self) -> bool:
        """Whether somebody tried to cancel the step in work: a long one may look, and return early."""
        step = self.seat.step if self.seat is not None else None
        return step is not None and self._around.unwanted(step)


def failed(error: BaseException) -> Outcome:
    """Put what an agent raised into words."""
    last = traceback.format_exception_only(error)[-1].strip()
    return Outcome("failed", error=last, traceback="".join(traceback.format_exception(error))[-32768:])
