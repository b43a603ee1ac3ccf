"""Decisions: what to do next, from what is there. Pure and level-triggered, a file per aspect.

`decide` is called by the reconcile loop with a whole pipeline: its sessions, their pods, the time. The same picture
always gives the same actions, and an action that was carried out does not come again.
"""

from __future__ import annotations

from ringline_operator.decide.attempts import attempt_actions
from ringline_operator.decide.claims import claim_actions
from ringline_operator.decide.replicas import replica_actions
from ringline_operator.decide.world import Decision, World

__all__ = ["Decision", "World", "decide"]


def decide(world: World, now: float) -> Decision:
    """Return the actions that bring `world` nearer to what its pipeline asks for, and when to look again."""
    decision = Decision()
    claimed = claim_actions(world, decision)
    attempt_actions(world, now, decision, busy=claimed)
    replica_actions(world, decision, leaving=frozenset(claimed.values()))
    return decision
