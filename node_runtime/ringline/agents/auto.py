"""How a pool with the executor "auto" chooses: it runs a few steps of a second agent here, measures, and says why."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from ringline.agents.local import Local
from ringline.agents.steps import Step

STEPS: Final = 5
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


def choose(target: str, arguments: dict[str, Any], observation: Any, workers: int) -> Choice:
    """Measure a few steps of an agent made for this, and choose. What the agent raises is left for its own steps."""
    probe = Local(0, 1 << 20)
    probe.start()
    try:
        probe.add(Step("@probe", None), target, arguments)
        wall, cpu = time.perf_counter(), time.thread_time()
        for _ in range(STEPS):
            step = Step("@probe", probe.carry(observation))
            probe.submit(step)
            step.exception()
        wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
    finally:
        probe.close()
    return judge(wall / STEPS, min(1.0, cpu / wall), workers)
