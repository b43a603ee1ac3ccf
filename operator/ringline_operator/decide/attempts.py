"""One session's attempts: its pod is made, watched, replaced by the restart policy, and tidied away after its end."""

from __future__ import annotations

from collections.abc import Mapping

from ringline_operator.actions import CreatePod, DeletePod, DeleteSession, EmitEvent, PatchSession
from ringline_operator.decide.world import Decision, World
from ringline_operator.status import Outcome, finished_status, outcome_of, restarted_status, running_status
from ringline_operator.views import PodView, SessionPolicy, SessionView


def attempt_actions(world: World, now: float, decision: Decision, *, busy: Mapping[str, str]) -> None:
    """Care for every session's present attempt. `busy`: claims that get a ready pod in this round."""
    policy = world.pipeline.session if world.pipeline is not None else SessionPolicy()
    leaving = world.emptied.union(busy.values())
    for session in world.sessions:
        if session.deleting or session.name in busy or session.name in leaving:
            continue
        if session.finished:
            _tidy(world, session, policy, now, decision)
        else:
            _advance(world, session, policy, now, decision)


def _advance(world: World, session: SessionView, policy: SessionPolicy, now: float, decision: Decision) -> None:
    pod = world.pod_of(session)
    outcome = outcome_of(session, pod, now)
    if outcome is not None:
        _after_end(session, pod, outcome, policy, now=now, decision=decision)
    elif pod is None:
        _begin(world, session, now, decision)
    else:
        _drop_former_pods(world, session, pod, decision)
        report = world.reports.get(pod.uid, {})
        decision.add(PatchSession(session.name, session.uid, running_status(session, pod, now, report=report)))


def _begin(world: World, session: SessionView, now: float, decision: Decision) -> None:
    pipeline = world.pipeline
    if pipeline is None or pipeline.deleting or pipeline.problems or (pipeline.suspend and not session.is_claim):
        return
    denial = world.denials.get(session.uid)
    if denial is not None:
        decision.add(PatchSession(session.name, session.uid, running_status(session, None, now, denial=denial)))
        if now < denial.retry_at:
            decision.again_in(denial.retry_at - now)
            return
    decision.add(CreatePod(session.name, session.uid, session.attempt, session.is_claim, session.parameters))


def _after_end(
    session: SessionView,
    pod: PodView | None,
    outcome: Outcome,
    policy: SessionPolicy,
    *,
    now: float,
    decision: Decision,
) -> None:
    if not _restartable(outcome, policy):
        _finish(session, pod, outcome, now, decision)
        return
    recent = tuple(moment for moment in session.restarts if now - moment < policy.restart_window_seconds)
    if len(recent) >= policy.max_restarts:
        spent = f"{outcome.message} (restarted {len(recent)} times within {policy.restart_window_seconds} s: no more)"
        _finish(session, pod, Outcome(outcome.succeeded, "RestartLimit", spent.strip(), outcome.at), now, decision)
        return
    due = outcome.at + restart_delay(len(recent), policy)
    if now < due:
        decision.add(PatchSession(session.name, session.uid, running_status(session, pod, now, outcome=outcome)))
        decision.again_in(due - now)
        return
    decision.add(
        PatchSession(session.name, session.uid, restarted_status(session, pod, outcome, (*recent, now), now)),
        EmitEvent(
            "MediaSession", session.name, session.uid, "Warning", "Restarting", f"{outcome.reason}: {outcome.message}"
        ),
    )


def restart_delay(earlier: int, policy: SessionPolicy) -> float:
    """Return seconds before the next restart: none for the first in the window, then doubling up to the maximum."""
    if earlier == 0:
        return 0.0
    return float(min(policy.backoff_seconds * 2 ** (earlier - 1), policy.max_backoff_seconds))


def _restartable(outcome: Outcome, policy: SessionPolicy) -> bool:
    if outcome.reason == "DeadlineExceeded":
        return False
    return policy.restart_policy == "Always" or (policy.restart_policy == "OnFailure" and not outcome.succeeded)


def _finish(session: SessionView, pod: PodView | None, outcome: Outcome, now: float, decision: Decision) -> None:
    decision.add(
        PatchSession(session.name, session.uid, finished_status(session, pod, outcome, now)),
        EmitEvent(
            "MediaSession",
            session.name,
            session.uid,
            "Normal" if outcome.succeeded else "Warning",
            "Completed" if outcome.succeeded else outcome.reason,
            outcome.message or "the session has ended",
        ),
    )


def _tidy(world: World, session: SessionView, policy: SessionPolicy, now: float, decision: Decision) -> None:
    """End what still runs of a finished session, and delete it when its time has come."""
    for pod in world.pod_by_owner.get(session.uid, ()):
        if not pod.over and not pod.deleting:
            decision.add(DeletePod(pod.name, pod.uid, "SessionFinished"))
    due = (session.finished_at or now) + policy.ttl_seconds_after_finished
    if now >= due:
        decision.add(DeleteSession(session.name, session.uid, "TimeToLive"))
    else:
        decision.again_in(due - now)


def _drop_former_pods(world: World, session: SessionView, current: PodView, decision: Decision) -> None:
    for pod in world.pod_by_owner.get(session.uid, ()):
        if pod.name != current.name and not pod.deleting:
            decision.add(DeletePod(pod.name, pod.uid, "Replaced"))
