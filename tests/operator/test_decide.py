"""Decisions, told as stories: a cluster without delays carries them out until nothing changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringline.graph.session_plan import SessionPolicy
from ringline_operator.actions import CreatePod, DeleteSession, EmitEvent
from ringline_operator.decide import World, decide
from ringline_operator.decide.attempts import restart_delay
from ringline_operator.decide.world import Denial, suffix
from tests.operator.pictures import START, UID, Cluster, pipeline


def running(replicas: int = 1, **policy: Any) -> Cluster:
    cluster = Cluster(pipeline(replicas, **policy))
    cluster.settle()
    cluster.ready()
    cluster.settle()
    return cluster


def only(cluster: Cluster) -> str:
    (name,) = cluster.sessions
    return name


def test_each_replica_gets_a_session_and_a_pod_named_after_it() -> None:
    cluster = running(3)
    assert len(cluster.sessions) == 3
    assert sorted(cluster.pods) == sorted(f"{name}-0" for name in cluster.sessions)
    assert {session.phase for session in cluster.sessions.values()} == {"Running"}


def test_a_stale_cache_proposes_the_same_names_again() -> None:
    world = World(pipeline(3))
    assert decide(world, START).actions == decide(world, START + 5).actions


def test_names_differ_between_pipelines_and_indices() -> None:
    assert len({suffix(uid, index) for uid in ("a", "b") for index in range(100)}) == 200


def test_scaling_down_takes_finished_then_unready_sessions_first() -> None:
    cluster = running(3, restart_policy="Never")
    names = sorted(cluster.sessions)
    cluster.fail(f"{names[0]}-0")
    cluster.pods[f"{names[1]}-0"] = replace(cluster.pods[f"{names[1]}-0"], ready=False)
    cluster.settle()
    for left in (2, 1):
        assert cluster.pipeline is not None
        cluster.pipeline = replace(cluster.pipeline, replicas=left)
        cluster.settle()
    assert only(cluster) == names[2]


def test_suspending_ends_replicas_and_leaves_claims() -> None:
    cluster = running(2)
    cluster.claim("call")
    cluster.settle()
    assert cluster.pipeline is not None
    cluster.pipeline = replace(cluster.pipeline, suspend=True)
    cluster.settle()
    assert only(cluster) == "call"


def test_a_claim_takes_a_ready_pod_and_the_pool_is_filled_again() -> None:
    cluster = running(1)
    before = only(cluster)
    claim = cluster.claim("call")
    cluster.settle()
    pod = cluster.pods[f"{before}-0"]
    assert (pod.owner_uid, pod.claimed, pod.session) == (claim.uid, True, "call")
    assert before not in cluster.sessions
    assert len(cluster.sessions) == 2
    assert cluster.sessions["call"].claimed_from == before


def test_two_claims_in_one_round_take_different_pods() -> None:
    cluster = running(2)
    first, second = cluster.claim("one"), cluster.claim("two")
    cluster.settle()
    owners = [pod.owner_uid for pod in cluster.pods.values() if pod.claimed]
    assert sorted(owners) == sorted((first.uid, second.uid))


def test_a_claim_without_a_ready_pod_makes_its_own() -> None:
    cluster = Cluster(pipeline(0))
    cluster.claim("call")
    cluster.settle()
    assert list(cluster.pods) == ["call-0"]
    assert cluster.pods["call-0"].claimed


def test_a_claimed_session_outlives_its_pipeline() -> None:
    cluster = running(1)
    cluster.claim("call")
    cluster.settle()
    cluster.pipeline = None
    cluster.settle()
    assert "call" in cluster.sessions
    assert any(pod.claimed for pod in cluster.pods.values())


def test_a_failed_session_is_restarted_at_once_and_then_with_back_off() -> None:
    cluster = running(1)
    name = only(cluster)
    cluster.fail(f"{name}-0", 137, "OOMKilled")
    cluster.settle()
    assert cluster.sessions[name].attempt == 1
    assert list(cluster.pods) == [f"{name}-1"]
    cluster.now += 10
    cluster.fail(f"{name}-1")
    cluster.settle()
    assert cluster.sessions[name].attempt == 1, "the second restart waits"
    cluster.now += 1.5
    cluster.settle()
    assert cluster.sessions[name].attempt == 2


def test_restarts_end_with_a_reason_when_they_are_used_up() -> None:
    cluster = running(1, max_restarts=2, backoff_seconds=0)
    name = only(cluster)
    for attempt in range(3):
        cluster.now += 1
        cluster.fail(f"{name}-{attempt}", message='{"node": "asr", "reason": "Killed", "exitCode": 137}')
        cluster.settle()
    session = cluster.sessions[name]
    assert session.phase == "Failed"
    ready = next(item for item in session.status["conditions"] if item["type"] == "Ready")
    assert ready["reason"] == "RestartLimit"
    assert "node 'asr' exited with code 137" in ready["message"]


def test_old_restarts_are_forgotten_after_the_window() -> None:
    cluster = running(1, max_restarts=1, restart_window_seconds=60)
    name = only(cluster)
    for attempt in range(4):
        cluster.now += 120
        cluster.fail(f"{name}-{attempt}")
        cluster.settle()
    assert cluster.sessions[name].attempt == 4


@pytest.mark.parametrize(
    ("policy", "phase", "restarted"),
    [
        ("Never", "Succeeded", False),
        ("OnFailure", "Succeeded", False),
        ("Always", "Succeeded", True),
        ("Never", "Failed", False),
        ("OnFailure", "Failed", True),
    ],
)
def test_the_restart_policy_decides_what_follows_an_end(policy: str, phase: str, restarted: bool) -> None:
    cluster = running(1, restart_policy=policy)
    name = only(cluster)
    if phase == "Failed":
        cluster.fail(f"{name}-0")
    else:
        cluster.pods[f"{name}-0"] = replace(cluster.pods[f"{name}-0"], phase="Succeeded", ready=False)
    cluster.settle()
    session = cluster.sessions[name]
    assert (session.attempt == 1) is restarted
    assert session.phase == ("Pending" if restarted else phase)


def test_a_pod_deleted_by_hand_counts_as_a_failure() -> None:
    cluster = running(1)
    name = only(cluster)
    del cluster.pods[f"{name}-0"]
    cluster.settle()
    assert list(cluster.pods) == [f"{name}-1"]
    assert any(isinstance(a, EmitEvent) and "PodLost" in a.message for a in cluster.log)


def test_a_missed_deadline_is_never_restarted() -> None:
    cluster = running(1, restart_policy="Always")
    name = only(cluster)
    cluster.pods[f"{name}-0"] = replace(
        cluster.pods[f"{name}-0"], phase="Failed", ready=False, reason="DeadlineExceeded"
    )
    cluster.settle()
    assert cluster.sessions[name].phase == "Failed"


def test_a_finished_session_keeps_its_place_until_its_time_is_over() -> None:
    cluster = running(1, restart_policy="Never", ttl_seconds_after_finished=60)
    name = only(cluster)
    cluster.fail(f"{name}-0")
    cluster.settle()
    assert only(cluster) == name
    cluster.now += 61
    cluster.settle()
    assert name not in cluster.sessions or cluster.sessions[name].phase != "Failed"
    assert len(cluster.sessions) == 1


def test_a_pipeline_that_was_refused_changes_nothing() -> None:
    cluster = running(2)
    assert cluster.pipeline is not None
    cluster.pipeline = replace(cluster.pipeline, replicas=5, problems=("spec.nodes: nonsense",))
    before = dict(cluster.pods)
    cluster.settle()
    assert cluster.pods == before


def test_recreate_replaces_unclaimed_sessions_of_the_old_template() -> None:
    cluster = running(1)
    cluster.claim("call")
    cluster.settle()
    cluster.ready()
    cluster.settle()
    assert cluster.pipeline is not None
    cluster.pipeline = replace(cluster.pipeline, revision="bbbbbb", recreate=True)
    cluster.settle()
    revisions = {pod.revision for pod in cluster.pods.values() if not pod.claimed}
    assert revisions == {"bbbbbb"}
    assert [pod.revision for pod in cluster.pods.values() if pod.claimed] == ["aaaaaa"]


def test_without_recreate_running_sessions_keep_their_template() -> None:
    cluster = running(1)
    assert cluster.pipeline is not None
    cluster.pipeline = replace(cluster.pipeline, revision="bbbbbb")
    cluster.settle()
    assert {pod.revision for pod in cluster.pods.values()} == {"aaaaaa"}


def test_a_denied_pod_shows_why_and_is_tried_again_later() -> None:
    cluster = Cluster(pipeline(1))
    cluster.step()
    name = only(cluster)
    denial = {cluster.sessions[name].uid: Denial("Forbidden", "exceeded quota: small", START + 5)}
    world = World(cluster.pipeline, tuple(cluster.sessions.values()), (), denial)
    early, late = decide(world, START), decide(world, START + 6)
    assert not [a for a in early.actions if isinstance(a, CreatePod)]
    assert early.requeue_after == pytest.approx(5)
    assert [a for a in late.actions if isinstance(a, CreatePod)]


def test_the_replica_that_a_claim_emptied_is_not_called_lost() -> None:
    cluster = running(1)
    name = only(cluster)
    cluster.claim("call")
    actions = cluster.step()
    cluster.sessions.setdefault(
        name, replace(cluster.sessions["call"], name=name, uid="stale", owner_uid=UID, pod_name=f"{name}-0")
    )
    again = decide(cluster.world(), cluster.now).actions
    assert not [a for a in (*actions, *again) if isinstance(a, CreatePod) and a.session == name]
    assert [a for a in again if isinstance(a, DeleteSession) and a.name == name]


def test_restart_delays_double_up_to_the_maximum() -> None:
    policy = SessionPolicy(backoff_seconds=1, max_backoff_seconds=10)
    assert [restart_delay(n, policy) for n in range(7)] == [0, 1, 2, 4, 8, 10, 10]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["ready", "fail", "lose", "claim", "more", "less", "wait", "finish"]), max_size=25))
def test_whatever_happens_the_pool_is_filled_again_and_no_session_has_two_pods(story: list[str]) -> None:
    cluster = running(2, ttl_seconds_after_finished=30, max_restarts=2)
    for index, event in enumerate(story):
        pods = sorted(cluster.pods)
        assert cluster.pipeline is not None
        match event:
            case "ready":
                cluster.ready(*(name for name in pods if cluster.pods[name].phase == "Pending"))
            case "fail" if pods:
                cluster.fail(pods[index % len(pods)])
            case "lose" if pods:
                del cluster.pods[pods[index % len(pods)]]
            case "finish" if pods:
                cluster.pods[pods[0]] = replace(cluster.pods[pods[0]], phase="Succeeded", ready=False)
            case "claim":
                cluster.claim(f"call-{index}")
            case "more" | "less":
                step = 1 if event == "more" else -1
                cluster.pipeline = replace(cluster.pipeline, replicas=max(0, cluster.pipeline.replicas + step))
            case _:
                cluster.now += 45
        cluster.settle()
        owners = [pod.owner_uid for pod in cluster.pods.values() if not pod.over]
        assert len(owners) == len(set(owners))
        replicas = [s for s in cluster.sessions.values() if s.owner_uid == UID]
        assert len(replicas) == cluster.pipeline.replicas
