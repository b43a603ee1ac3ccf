"""The crowds that an installed Ringline has: agents in an `AgentPool`, and agents in a bare loop as what others are measured by."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, cast

from ringline.bench.load import Done
from ringline.bench.work import TARGETS, hang_up, make


class Bare:
    """Agents as plain objects, stepped where the caller is: no pool costs less."""

    def __init__(self) -> None:
        self._agents: list[Any] = []

    def settle(self, agents: int, kernel: str, arguments: dict[str, Any]) -> str:
        """Make the objects."""
        self._agents = [make(kernel, f"agent{number}", arguments) for number in range(agents)]
        return "bare"

    def submit(self, agent: int, observation: Any, done: Done) -> None:
        """Do the step, now."""
        done(agent, self._agents[agent].step(observation))

    def close(self) -> None:
        """Close the agents' connections."""
        hang_up()


class Pool:
    """Agents in a pool with one of its executors."""

    def __init__(self, executor: str) -> None:
        from ringline.agents.pool import AgentPool, Executor

        self._executor = executor
        self._pool = AgentPool(cast("Executor", executor))

    def settle(self, agents: int, kernel: str, arguments: dict[str, Any]) -> str:
        """Start the pool, make the agents, and have one do a step, by which `auto` chooses."""
        pool = self._pool.start()
        made = [pool.add(f"agent{number}", TARGETS[kernel], arguments) for number in range(agents)]
        for each in made:
            each.result()
        if self._executor == "auto":
            pool.submit("agent0", "" if kernel == "mortal" else 0).result()
        return pool.choice.executor if pool.choice is not None else self._executor

    def submit(self, agent: int, observation: Any, done: Done) -> None:
        """Submit the step."""
        self._pool.submit(f"agent{agent}", observation).add_done_callback(lambda step: done(agent, outcome(step)))

    def close(self) -> None:
        """End the pool, and the connections of agents that lived here."""
        self._pool.close()
        hang_up()


def outcome(future: Future[Any]) -> Any:
    """Give a future's result, or its exception as a value."""
    error = future.exception()
    return future.result() if error is None else error
