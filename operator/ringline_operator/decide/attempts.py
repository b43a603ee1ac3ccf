"""One session's attempts: its pod is made, watched, replaced by the restart policy, and tidied away after its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ringline.graph.session_plan import SessionPolicy
from ringline_operator.actions import CreatePod, DeletePod, DeleteSession, EmitEvent, LabelSession, PatchSession
from ringline_operator.decide.claims import LARGEST_PARAMETERS_BYTES, fits
from ringline_operator.decide.world import Decision, Memory, Rest, World, birth, pod_name
from ringline_operator.outcome import Outcome, ends_by, given_up_at, outcome_of
from ringline_operator.specs.labels import session_labels
from ringline_operator.status import SLOW_START_SECONDS, finished_status, restarted_status, running_status
from ringline_operator.views import PodView, SessionView

QUIET_SECONDS: Final = 1.0
"""A pod that is younger and has nothing to complain of is not worth a request."""


def attempt_actions(world: World, now: float, decision: Decision, memory: Memory, *, busy: Mapping[str, str]) -> None:
    """Care for every session's present attempt. `busy`: claims that get a ready pod in this round."""
    policy = world.pipeline.session if world.pipeline is not None else SessionPolicy()
    leaving = world.emptied.union(busy.values(), (birth(pod) for pod in world.promised))
    for session in world.sessions:
        if session.deleting or session.name in busy or session.name in leaving or session.name in world.under_way:
            # What is new of it is not judged now, and must not be taken as known later.
            memory.rest.pop(session.uid, None)
            continue
        rest = memory.resting(world, session, now)
        if rest is None:
            _attend(world, session, policy, now=now, decision=decision, memory=memory)
        elif rest.due is not None:
            decision.again_in(rest.due - now)


def _attend(
    world: World, session: SessionView, policy: SessionPolicy, *, now: float, decision: Decision, memory: Memory
) -> None:
    own = Decision()
    if not session.labelled:
        labels = session_labels(session.pipeline, claimed=session.is_claim)
        own.add(LabelSession(session.name, session.uid, labels))
    if session.finished:
        _tidy(world, session, policy, now, own)
    else:
        _advance(world, session, policy, now, own)
    pods = world.pod_by_owner.get(session.uid, ())
    memory.rest.pop(session.uid, None)
    # A session without a pod waits for something that is not its own, and is looked at each time.
    if not own.actions and (pods or session.finished):
        due = None if own.requeue_after is None else now + own.requeue_after
        denial = world.denials.get(session.uid)
        memory.rest[session.uid] = Rest(session, pods, world.report_of(session), denial, due)
    decision.add(*own.actions)
    if own.requeue_after is not None:
        decision.again_in(own.requeue_after)


def _advance(world: World, session: SessionView, policy: SessionPolicy, now: float, decision: Decision) -> None:
    pod = world.pod_of(session)
    outcome = outcome_of(session, pod, now)
    if outcome is not None:
        _after_end(world, session, pod, outcome, policy, now=now, decision=decision)
    elif pod is None:
        _begin(world, session, now, decision)
    else:
        _drop_former_pods(world, session, pod, decision)
        if _says_nothing_yet(session, pod, now):
            decision.again_in(pod.created + QUIET_SECONDS - now)
            return
        status = running_status(session, pod, now, report=world.reports.get(pod.uid))
        _write(session, status, decision)
        _warn(session, status, decision)
        given_up = given_up_at(pod)
        if given_up is not None:
            decision.again_in(given_up - now)
        if not pod.ready and now < pod.created + SLOW_START_SECONDS:
            decision.again_in(pod.created + SLOW_START_SECONDS - now)


def _says_nothing_yet(session: SessionView, pod: PodView, now: float) -> bool:
    """Say whether a new pod is merely on its way: most are ready before anybody could read that they are not."""
    if session.pod_name or not 0 <= now - pod.created < QUIET_SECONDS:
        return False
    return not (pod.ready or pod.deleting or pod.reason or any(item.reason for item in pod.containers))


def _write(session: SessionView, status: Mapping[str, Any], decision: Decision) -> None:
    if status != session.status:
        decision.add(PatchSession(session.name, session.uid, status))


def _warn(session: SessionView, status: Mapping[str, Any], decision: Decision) -> None:
    """Tell of trouble when it begins, not while it lasts; what ends a session is told once it has ended."""
    if status["phase"] == "Stopping":
        return
    before, after = (
        next((item for item in found.get("conditions", ()) if item["type"] == "Degraded"), {"status": "False"})
        for found in (session.status, status)
    )
    if after["status"] == "True" and (before["status"], before.get("reason")) != ("True", after["reason"]):
        what = EmitEvent("MediaSession", session.name, session.uid, "Warning", after["reason"], after["message"])
        decision.add(what)


def _begin(world: World, session: SessionView, now: float, decision: Decision) -> None:
    if not fits(session.parameters):
        text = f"spec.parameters has more than {LARGEST_PARAMETERS_BYTES} bytes as JSON: pass a reference instead"
        _finish(session, None, Outcome(False, "ParametersTooLarge", text, now), now, decision)
        return
    waiting = _obstacle(world, session)
    denial = world.denials.get(session.uid)
    if waiting is not None:
        _write(session, running_status(session, None, now, waiting=waiting), decision)
        return
    if denial is not None:
        waiting = (denial.reason, denial.message)
        _write(session, running_status(session, None, now, waiting=waiting), decision)
        if now < denial.retry_at:
            decision.again_in(denial.retry_at - now)
            return
    decision.add(CreatePod(session.name, session.uid, session.attempt, session.is_claim, session.parameters))


def _obstacle(world: World, session: SessionView) -> tuple[str, str] | None:
    """Say why no pod may be made now: reason and sentence, or None."""
    pipeline = world.pipeline
    if pipeline is None or pipeline.deleting:
        return "PipelineNotFound", f"there is no pipeline '{session.pipeline}' in this namespace"
    if pipeline.problems:
        return "PipelineNotAccepted", f"pipeline '{pipeline.name}': {pipeline.problems[0]}"
    if pipeline.suspend:
        return "PipelineSuspended", f"pipeline '{pipeline.name}' is suspended"
    former = world.pod_by_name.get(pod_name(session))
    if former is not None and former.owner_uid != session.uid:
        return "NameTaken", f"pod {former.name} of a former session of this name has not ended yet"
    return None


def _after_end(
    world: World,
    session: SessionView,
    pod: PodView | None,
    outcome: Outcome,
    policy: SessionPolicy,
    *,
    now: float,
    decision: Decision,
) -> None:
    # A live call ends with its pod once its pipeline is gone: there is nothing to make another one from.
    if world.pipeline is None or world.pipeline.deleting or not _restartable(outcome, policy):
        _finish(session, pod, outcome, now, decision)
        return
    recent = tuple(moment for moment in session.restarts if now - moment < policy.restart_window_seconds)
    if len(recent) >= policy.max_restarts:
        spent = f"{outcome.message} (restarted {len(recent)} times within {policy.restart_window_seconds} s: no more)"
        _finish(session, pod, Outcome(outcome.succeeded, "RestartLimit", spent.strip(), outcome.at), now, decision)
        return
    due = outcome.at + restart_delay(len(recent), policy)
    if now < due:
        _write(session, running_status(session, pod, now, outcome=outcome), decision)
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
            "Completed" if outcome.succeeded else "Failed",
            f"{outcome.reason}: {outcome.message or 'the session has ended'}",
        ),
    )


def _tidy(world: World, session: SessionView, policy: SessionPolicy, now: float, decision: Decision) -> None:
    """End what still runs of a finished session, and delete it when its time has come."""
    for pod in world.pod_by_owner.get(session.uid, ()):
        if pod.over or pod.deleting:
            continue
        # One that is ending stays, so that its logs can be read.
        left = (ends_by(pod) or now) - now
        if left > 0:
            decision.again_in(left)
        else:
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
