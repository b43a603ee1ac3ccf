"""One step of one agent as its caller sees it: a future that knows its agent, can be cancelled and tells of progress."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ringline.agents.values import pack
from ringline.errors import AgentError, DataError

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step is: 0..1 and a sentence."""

    fraction: float = 0.0
    message: str = ""


class Step(Future[Any]):
    """A `concurrent.futures.Future` (`asyncio.wrap_future` makes it awaitable, `AgentPool.step` does so).

    `cancel()` works until the step is sent to its worker. `progress` is what the agent reported last.
    """

    def __init__(
        self,
        agent_id: str,
        observation: Any,
        priority: int = 0,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> None:
        """Raise `DataError` for an observation that can't be sent. `timeout`, `deadline`: seconds."""
        super().__init__()
        self.number = next(_numbers)
        self.agent_id = agent_id
        self.priority = priority
        self.timeout = timeout
        self.deadline_ns = time.monotonic_ns() + int(deadline * 1e9) if deadline is not None else 0
        self.progress = Progress()
        self.began = False
        self.suspect = False
        try:
            self.blob = pack(observation)
        except DataError as error:
            raise DataError(f"agent '{agent_id}': {error}") from None

    @property
    def rank(self) -> tuple[int, int]:
        """What comes first: a higher priority, then an earlier step."""
        return -self.priority, self.number

    @property
    def expired(self) -> bool:
        """Say whether its deadline has passed."""
        return bool(self.deadline_ns) and time.monotonic_ns() > self.deadline_ns

    def get(self, timeout: float | None = None) -> Any:
        """Give the result, as `multiprocessing`'s results do."""
        return self.result(timeout)

    def start(self) -> bool:
        """Say that it is sent; False if it was cancelled before."""
        if not self.began:
            self.began = self.set_running_or_notify_cancel()
        return self.began

    def answer(self, value: Any) -> None:
        """Give it its result, once."""
        if not self.done():
            self.set_result(value)

    def fail(self, error: AgentError | Exception) -> None:
        """Give it its error, once."""
        if not self.done() and self.start():
            self.set_exception(error)
