"""One step of one agent as its caller sees it: a future that knows its agent, can be cancelled and tells of progress."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Any, Final

from ringline.errors import AgentError

_numbers = itertools.count(1)
_FINE: Final = 2.0**32
"""Priorities that differ by less than one part of it are the same. Between two are 2**64 steps, more than there will be."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step is: 0..1 and a sentence."""

    fraction: float = 0.0
    message: str = ""


class Step(Future[Any]):
    """A `concurrent.futures.Future` that can be awaited too, on any running event loop.

    `cancel()` works until the agent begins with the step, also when it was sent to a worker already; an agent that has begun may
    look at `report.cancelled`. It is False also when the worker was just about to begin: then the step either runs, or ends as
    cancelled after all. `progress` is what the agent reported last.
    """

    # What most steps never change; a step is made in a few microseconds.
    timeout: float | None = None
    deadline_ns = 0
    progress = Progress()
    sent = False
    slot = 0
    suspect = False
    unwanted = False
    """Whether somebody tried to cancel it."""
    recall: Callable[[Step], bool] | None = None
    """Asks whoever has the step whether it can still be kept from being begun; then it calls `take`, so that nobody sends it."""
    left: Callable[[Step], None] | None = None
    """Is told when it ends, before those who wait for it."""
    _begun = False

    def __init__(
        self,
        agent_id: str,
        load: Any,
        priority: float = 0,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> None:
        """`load`: the observation as the pool's backend carries it. `timeout`, `deadline`: seconds."""
        super().__init__()
        self.number = next(_numbers)
        self.agent_id = agent_id
        self.load = load
        self.rank = self.number - (int(priority * _FINE) << 64) if priority else self.number
        """What comes first: a higher priority, then an earlier step."""
        if timeout is not None:
            self.timeout = timeout
        if deadline is not None:
            self.deadline_ns = time.monotonic_ns() + int(deadline * 1e9)
        # Whoever gets the one byte is the one: that needs no lock, and nothing that the garbage collector would look at.
        self._right = bytearray(1)

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the result on the running event loop; who goes away cancels the step."""
        return asyncio.wrap_future(self).__await__()

    @property
    def decided(self) -> bool:
        """Say whether it was answered, has failed or is being cancelled."""
        return not self._right

    @property
    def expired(self) -> bool:
        """Say whether its deadline has passed."""
        return bool(self.deadline_ns) and time.monotonic_ns() > self.deadline_ns

    def get(self, timeout: float | None = None) -> Any:
        """Give the result, as `multiprocessing`'s results do."""
        return self.result(timeout)

    def running(self) -> bool:
        """Say whether it is on its way to its worker, or in work."""
        return (self.sent or self._begun) and not self.done()

    def cancel(self) -> bool:
        """Cancel the step; False if the agent has (or may have) begun with it, or it is done."""
        if self.cancelled():
            return True
        self.unwanted = True
        if self.done() or not (self.take() if self.recall is None else self.recall(self)):
            return False
        self._cancel()
        return True

    def withdraw(self) -> None:
        """Cancel it, unless that is done: its worker saw the wish before it began."""
        if self._begun or self.take():
            self._cancel()

    def _cancel(self) -> None:
        if self.left is not None:
            self.left(self)
        if super().cancel():
            self.set_running_or_notify_cancel()  # who waits for several hears of it only so

    def begin(self) -> bool:
        """Say that it runs from now on; False if it was cancelled before."""
        if not self.take():
            return False
        self._begun = True
        return True

    def answer(self, value: Any) -> None:
        """Give it its result, once."""
        if self._begun or self.take():
            if self.left is not None:
                self.left(self)
            try:
                self.set_result(value)
            except InvalidStateError:
                return  # it has its answer

    def fail(self, error: AgentError | Exception) -> None:
        """Give it its error, once."""
        if self._begun or self.take():
            if self.left is not None:
                self.left(self)
            try:
                self.set_exception(error)
            except InvalidStateError:
                return

    def take(self) -> bool:
        """Be the one who decides what becomes of it; for its pool."""
        try:
            self._right.pop()
        except IndexError:
            return False
        return True
