"""Crash isolation: what becomes of the others when one agent of a crowd takes its process along."""

from __future__ import annotations

from typing import Final

from ringline.bench.load import Crowd, steps_of

WAIT_S: Final = 60.0
"""An answer that takes longer is called lost: some pools wait for ever for the steps of a dead process."""
VICTIM: Final = 0


def kill_one(crowd: Crowd, agents: int, death: str) -> dict[str, int]:
    """Kill the first of a crowd's mortal agents, which have done a step, while all others do one; then have those do another.

    Returns how many of the others `failed` in the step of the death, were `lost` (did no step afterwards either) and began `anew`
    (did it, but had forgotten what came before). A crowd in the caller's process takes it along.
    """
    others = [agent for agent in range(agents) if agent != VICTIM]
    crowd.submit(VICTIM, death, lambda *_: None)  # some pools never answer it
    meanwhile = steps_of(crowd, dict.fromkeys(others, ""), WAIT_S)
    afterwards = steps_of(crowd, dict.fromkeys(others, ""), WAIT_S)
    return {
        "failed": sum(not isinstance(meanwhile.get(agent), int) for agent in others),
        "lost": sum(not isinstance(afterwards.get(agent), int) for agent in others),
        "anew": sum(_forgot(meanwhile.get(agent), afterwards.get(agent)) for agent in others),
    }


def _forgot(meanwhile: object, afterwards: object) -> bool:
    """Say whether a count is lower than the steps that were answered: the first, that of the death perhaps, the last."""
    return isinstance(afterwards, int) and afterwards < (3 if isinstance(meanwhile, int) else 2)
