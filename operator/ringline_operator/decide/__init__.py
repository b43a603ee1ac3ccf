"""Decisions: what to do next, from what is there. Pure and level-triggered, a file per aspect.

`decide` is called by the reconcile loop with a whole pipeline: its sessions, their pods, the time. The same picture
always gives the same actions, and an action that was carried out does not come again.
"""

from __future__ import annotations

from ringline_operator.decide.attempts import attempt_actions
from ringline_operator.decide.claims import claim_actions
from ringline_operator.decide.replicas import replica_actions
from ringline_operator.decide.world import Decision, Memory, World

__all__ = ["Decision", "Memory", "World", "decide"]


def decide(world: World, now: float, memory: Memory | None = None) -> Decision:
    """Return the actions that bring `world` nearer to what its pipeline asks for, and when to look again.

    `memory` spares the thinking about sessions that are as they were in the look before.
    """
    memory = memory or Memory()
    memory.begin(world)
    decision = Decision()
    claimed = claim_actions(world, now, decision)
    attempt_actions(world, now, decision, memory, busy=claimed)
    replica_actions(world, decision, leaving=frozenset(claimed.values()))
    return decision
