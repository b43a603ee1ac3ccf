"""How many unclaimed sessions there are: scaling, suspension, changed templates, and what a deleted pipeline leaves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Final

from ringline_operator.actions import CreateSession, DeleteSession
from ringline_operator.decide.world import Decision, World, birth, birth_name, suffix
from ringline_operator.views import PipelineView, SessionView

AT_ONCE: Final = 256
"""Sessions that one look asks for: more than find a hand before the next, few enough that a look stays short."""


def replica_actions(world: World, decision: Decision, *, leaving: frozenset[str]) -> None:
    """Keep as many replicas as the pipeline asks for. `leaving`: replicas whose pod was just given to a claim.

    A pipeline that was not accepted, or is being deleted, neither gets new sessions nor loses those that run: what
    works is not torn down because of a typing error.
    """
    pipeline = world.pipeline
    if pipeline is None or pipeline.deleting or pipeline.problems:
        return
    gone = leaving.union(world.emptied, (birth(pod) for pod in world.promised))
    replicas = [s for s in world.sessions if s.owner_uid == pipeline.uid and not s.deleting and s.name not in gone]
    doomed = _outdated(pipeline, replicas)
    outdated = {session.name for session in doomed}
    kept = [session for session in replicas if session.name not in outdated]
    wanted = 0 if pipeline.suspend else pipeline.replicas
    if len(kept) > wanted:
        ranked = sorted(kept, key=lambda session: _worth(world, pipeline, session))
        doomed += ranked[: len(kept) - wanted]
    why = "Suspended" if pipeline.suspend else "ScaledDown"
    for session in doomed:
        decision.add(DeleteSession(session.name, session.uid, "Outdated" if session.name in outdated else why))
    missing = wanted - len(kept)
    if missing > 0:
        decision.add(*(CreateSession(name) for name in islice(_free_names(world, pipeline), min(missing, AT_ONCE))))


def _outdated(pipeline: PipelineView, replicas: list[SessionView]) -> list[SessionView]:
    if not pipeline.recreate:
        return []
    return [session for session in replicas if session.revision not in ("", pipeline.revision)]


def _worth(world: World, pipeline: PipelineView, session: SessionView) -> tuple[bool, bool, bool, float]:
    """Order by what is lost least: finished, not ready, of an old template, youngest."""
    pod = world.pod_of(session)
    return (
        not session.finished,
        pod is not None and pod.ready,
        session.revision == pipeline.revision,
        -session.created,
    )


def _free_names(world: World, pipeline: PipelineView) -> Iterator[str]:
    """Names that nobody has taken: no session, no pod (whose name begins with its first session's), no other pipeline."""
    taken = {session.name for session in world.sessions} | {birth_name(pod) for pod in world.pods} | world.foreign
    names = (f"{pipeline.name}-{suffix(pipeline.uid, index)}" for index in count())
    return (name for name in names if name not in taken)
