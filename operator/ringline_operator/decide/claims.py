"""Claims: a session that a user made takes a ready pod of the pipeline's replicas, models already loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ringline_operator.actions import ClaimPod, DeleteSession, PatchSession
from ringline_operator.decide.world import Decision, World, birth_name
from ringline_operator.status import running_status
from ringline_operator.views import PodView, SessionView

LARGEST_PARAMETERS_BYTES: Final = 16 << 10


def claim_actions(world: World, now: float, decision: Decision) -> dict[str, str]:
    """Give each claim without a pod a ready one; return claim → emptied replica session.

    Claims are served in the order in which they were made. One that finds no ready pod gets a pod of its own (see
    `attempts`), so a claim never waits for a pool that is empty.
    """
    _drop_emptied_replicas(world, decision)
    if world.pipeline is None or world.pipeline.deleting:
        return {}
    claims = [session for session in world.sessions if _wants_pod(world, session)]
    if not claims:
        return {}
    claims.sort(key=lambda session: (session.created, session.name))
    free = sorted(
        (pod for pod in world.pods if pod.claimable and pod.name not in world.promised),
        key=lambda pod: _preference(world, pod),
    )
    taken: dict[str, str] = {}
    for claim, pod in zip(claims, free, strict=False):
        # A user waits: what the claim's status will be is known before, and follows at once if the pod could be had.
        given = replace(pod, claimed=True, session=claim.name, owner_uid=claim.uid)
        decision.add(
            ClaimPod(pod.name, pod.uid, pod.resource_version, birth_name(pod), claim.name, claim.uid, claim.parameters),
            PatchSession(claim.name, claim.uid, running_status(claim, given, now)),
        )
        taken[claim.name] = birth_name(pod)
    return taken


def fits(parameters: Mapping[str, Any]) -> bool:
    """Say whether parameters can go into a pod's annotation beside its plan."""
    return not parameters or len(json.dumps(dict(parameters)).encode()) <= LARGEST_PARAMETERS_BYTES


def _wants_pod(world: World, session: SessionView) -> bool:
    return (
        session.is_claim
        and not session.deleting
        and not session.finished
        and session.attempt == 0
        and not session.pod_name
        and session.name not in world.under_way
        and session.uid not in world.pod_by_owner
        and fits(session.parameters)
    )


def _preference(world: World, pod: PodView) -> tuple[bool, float]:
    """Pods of the present template first, then the longest ready (its caches are warm)."""
    return (world.pipeline is not None and pod.revision != world.pipeline.revision, pod.created)


def _drop_emptied_replicas(world: World, decision: Decision) -> None:
    for session in world.sessions:
        if session.name in world.emptied and not session.deleting:
            decision.add(DeleteSession(session.name, session.uid, "Claimed"))
