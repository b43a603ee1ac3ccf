"""How a pool with the executor "auto" chooses: it runs a few steps of a second agent here, measures, and says why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final

from ringline.agents.stage import Stage
from ringline.agents.state import SharedState
from ringline.agents.values import copied
from ringline.errors import AgentError

STEPS: Final = 5
PATIENCE_S: Final = 10.0
"""With the making and the steps of the measured agent."""
SHORT_S: Final = 0.0002
"""A step that is shorter costs less than its way to another process and back."""
WAITING: Final = 0.2
"""With less of a step's time spent off the processor, threads inside a worker gain nothing."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and the reason: `step_s` seconds per step, of which `cpu_share` on the processor."""

    executor: str
    why: str
    step_s: float
    cpu_share: float


def judge(step_s: float, cpu_share: float, workers: int) -> Choice:
    """Choose from what was measured."""
    measured = f"a step takes {step_s * 1e3:.2f} ms, {cpu_share:.0%} of it on the processor"
    if cpu_share < 0.1:
        return Choice(
            "thread", f"{measured}: it mostly waits, which threads do with the least memory", step_s, cpu_share
        )
    if step_s < SHORT_S:
        return Choice("inline", f"{measured}: the way to another process would cost more", step_s, cpu_share)
    if workers < 2:
        return Choice(
            "thread", f"{measured}, and there is one core only: processes would add nothing", step_s, cpu_share
        )
    if 1 - cpu_share > WAITING:
        return Choice(
            "hybrid", f"{measured}: processes for the one part, threads in them for the other", step_s, cpu_share
        )
    return Choice("process", f"{measured}: each core gets a process of its own", step_s, cpu_share)


class Probe:
    """An agent that measures another one: made as the one to be measured would be, in a worker of its own."""

    def __init__(self, target: str, arguments: dict[str, Any], agent_id: str, state: SharedState) -> None:
        self._name = agent_id
        self._stage = Stage(state, self, keeps=False)
        self._stage.add(agent_id, target, arguments, again=False)

    def step(self, observation: Any) -> list[float]:
        """Do a few steps; seconds that passed, and seconds on the processor. What the agent raises is left for its own steps."""
        wall, cpu = time.perf_counter(), time.thread_time()
        for number in range(1, STEPS + 1):
            self._stage.step(number, self._name, copied(observation))
        return [time.perf_counter() - wall, time.thread_time() - cpu]

    def progressed(self, step: int, fraction: float, message: str) -> None:
        """Ignore what is told while measuring."""

    def unwanted(self, _: int) -> bool:
        """Say that what is measured is wanted."""
        return False

    def finish(self, result: Awaitable[Any]) -> Any:
        """Complete an async step."""

        async def awaited() -> Any:
            return await result

        return asyncio.run(awaited())


def choose(target: str, arguments: dict[str, Any], observation: Any, workers: int, paths: tuple[str, ...]) -> Choice:
    """Measure a few steps of an agent made for this, in a process of its own, and choose.

    One that crashes, or takes longer than 10 s, harms nobody there, and wants a process.
    """
    from ringline.agents.pool import AgentPool  # which calls this

    with AgentPool("process", workers=1, paths=paths, max_restarts=1, init_timeout=PATIENCE_S) as pool:
        pool.add("@probe", "ringline.agents.auto:Probe", {"target": target, "arguments": arguments})
        try:
            wall, cpu = pool.submit("@probe", observation, timeout=PATIENCE_S).result()
        except AgentError as error:
            why = str(error).partition("\n")[0]
            return Choice(
                "process", f"it could not be measured ({why}), and a process keeps that from others", 0.0, 0.0
            )
    return judge(wall / STEPS, min(1.0, cpu / wall), workers)
