"""What a claim waits for, and what becomes of pods that go in odd ways."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringline_operator.actions import ClaimPod, CreatePod, DeletePod, EmitEvent, LabelSession, PatchSession, subject
from ringline_operator.decide import World, decide
from ringline_operator.decide.claims import LARGEST_PARAMETERS_BYTES
from ringline_operator.views import ContainerView, PodView
from tests.operator.pictures import START, Cluster, pipeline


def ready_condition(cluster: Cluster, name: str) -> dict[str, Any]:
    found = cluster.sessions[name].status["conditions"]
    return next(item for item in found if item["type"] == "Ready")


def running(replicas: int = 1, **policy: Any) -> Cluster:
    cluster = Cluster(pipeline(replicas, **policy))
    cluster.settle()
    cluster.ready()
    cluster.settle()
    return cluster


def test_a_claim_of_an_unknown_pipeline_says_so_and_waits() -> None:
    cluster = Cluster(pipeline(0))
    cluster.pipeline = None
    cluster.claim("call")
    cluster.settle()
    assert ready_condition(cluster, "call")["reason"] == "PipelineNotFound"
    assert not cluster.pods
    cluster.pipeline = pipeline(0)
    cluster.settle()
    assert list(cluster.pods) == ["call-0"]


def test_a_claim_of_a_refused_pipeline_names_the_problem() -> None:
    cluster = Cluster(replace(pipeline(0), problems=("spec.nodes: nonsense",)))
    cluster.claim("call")
    cluster.settle()
    found = ready_condition(cluster, "call")
    assert (found["reason"], found["message"]) == ("PipelineNotAccepted", "pipeline 'voice': spec.nodes: nonsense")


def test_a_claim_of_a_suspended_pipeline_waits_for_it() -> None:
    cluster = Cluster(pipeline(2, suspend=True))
    cluster.claim("call")
    cluster.settle()
    assert ready_condition(cluster, "call")["reason"] == "PipelineSuspended"
    cluster.pipeline = pipeline(2)
    cluster.settle()
    assert "call-0" in cluster.pods


def test_parameters_that_do_not_fit_fail_the_claim_and_take_no_pod() -> None:
    cluster = running(1)
    claim = cluster.claim("call")
    cluster.sessions["call"] = replace(claim, parameters={"text": "x" * LARGEST_PARAMETERS_BYTES})
    cluster.settle()
    assert cluster.sessions["call"].phase == "Failed"
    assert ready_condition(cluster, "call")["reason"] == "ParametersTooLarge"
    assert not any(pod.claimed for pod in cluster.pods.values())


def test_a_claim_is_told_of_its_pod_in_the_same_breath() -> None:
    cluster = running(1)
    cluster.claim("call")
    actions = decide(cluster.world(), cluster.now).actions
    taken, written = (action for action in actions if subject(action) == "call")
    assert isinstance(taken, ClaimPod)
    assert isinstance(written, PatchSession)
    assert (written.status["phase"], written.status["podName"]) == ("Running", taken.pod)
    assert written.status["claimedFrom"] == taken.from_session
    cluster.settle()
    assert [action for action in cluster.log if isinstance(action, PatchSession) and action.name == "call"] == [written]


def test_a_claim_without_labels_gets_them_once() -> None:
    cluster = running(1)
    cluster.sessions["call"] = replace(cluster.claim("call"), labelled=False, pipeline="voice")
    cluster.settle()
    labels = [action.labels for action in cluster.log if isinstance(action, LabelSession)]
    assert labels == [{"ringline.dev/pipeline": "voice", "ringline.dev/claimed": "true"}]


def test_a_name_used_again_waits_for_the_former_pod_to_end() -> None:
    cluster = Cluster(pipeline(0))
    cluster.pods["call-0"] = PodView("call-0", "old", "1", "call", "former uid", START, claimed=True, deleting=True)
    claim = cluster.claim("call")
    cluster.settle()
    assert ready_condition(cluster, "call")["reason"] == "NameTaken"
    del cluster.pods["call-0"]
    cluster.settle()
    assert cluster.pods["call-0"].owner_uid == claim.uid


def test_a_live_call_whose_pipeline_is_gone_ends_with_its_pod() -> None:
    cluster = running(1)
    cluster.claim("call")
    cluster.settle()
    cluster.pipeline = None
    (pod,) = (name for name, pod in cluster.pods.items() if pod.claimed)
    cluster.fail(pod, 139, "Error")
    cluster.settle()
    assert cluster.sessions["call"].phase == "Failed"
    assert cluster.sessions["call"].attempt == 0


def test_a_pod_stuck_on_a_lost_host_machine_is_replaced_and_deleted() -> None:
    cluster = running(1)
    (name,) = cluster.sessions
    cluster.pods[f"{name}-0"] = replace(cluster.pods[f"{name}-0"], ready=False, deleting=True, gone_by=START + 5)
    cluster.settle()
    assert list(cluster.pods) == [f"{name}-0"], "it may still end by itself"
    assert cluster.sessions[name].phase == "Stopping"
    cluster.now = START + 16
    cluster.settle()
    assert f"{name}-1" in cluster.pods


def test_a_look_is_due_when_a_hanging_pod_is_to_be_given_up() -> None:
    cluster = running(1)
    (name,) = cluster.sessions
    dead = ContainerView("node-asr", "terminated", "Error", "", 1, finished_at=START, node="asr")
    alive = ContainerView("node-tts", "running", node="tts")
    cluster.pods[f"{name}-0"] = replace(cluster.pods[f"{name}-0"], ready=False, containers=(dead, alive))
    cluster.settle()
    assert decide(cluster.world(), START + 10).requeue_after == pytest.approx(20)
    cluster.now = START + 31
    cluster.settle()
    assert f"{name}-0" in {action.name for action in cluster.log if isinstance(action, DeletePod)}
    assert cluster.sessions[name].attempt == 1


def test_a_pod_that_comes_to_its_end_is_left_to_it_and_one_that_hangs_is_not() -> None:
    cluster = running(1, restart_policy="Never")
    (name,) = cluster.sessions
    pod = cluster.pods[f"{name}-0"]
    dead = ContainerView("node-asr", "terminated", "Error", "", 1, finished_at=START, node="asr")
    gateway = ContainerView("gateway", "running")
    cluster.pods[pod.name] = replace(pod, ready=False, containers=(gateway, dead))
    cluster.settle()
    assert cluster.sessions[name].phase == "Failed", "no container of it will run again"
    assert list(cluster.pods) == [pod.name], "its logs can be read"
    assert decide(cluster.world(), START + 10).requeue_after == pytest.approx(20)
    cluster.now = START + 31
    cluster.settle()
    assert not cluster.pods, "its gateway hangs"


def test_an_evicted_pod_is_replaced_and_the_event_says_why() -> None:
    cluster = running(1)
    (name,) = cluster.sessions
    pod = cluster.pods[f"{name}-0"]
    cluster.pods[pod.name] = replace(
        pod, phase="Failed", ready=False, reason="Evicted", message="low on memory", disruption="TerminationByKubelet"
    )
    cluster.settle()
    assert f"{name}-1" in cluster.pods
    (told,) = (a for a in cluster.log if isinstance(a, EmitEvent) and a.reason == "Restarting")
    assert told.message == "TerminationByKubelet: low on memory"


def test_trouble_is_told_once_when_it_begins() -> None:
    cluster = running(1)
    (name,) = cluster.sessions
    silent = (ContainerView("gateway", "running", ready=True), ContainerView("node-asr", "running", node="asr"))
    cluster.pods[f"{name}-0"] = replace(cluster.pods[f"{name}-0"], ready=False, containers=silent)
    cluster.settle()
    cluster.now += 5
    cluster.settle()
    told = [action for action in cluster.log if isinstance(action, EmitEvent)]
    assert [(event.type, event.reason) for event in told] == [("Warning", "NodeUnhealthy")]
    assert "'asr'" in told[0].message


def test_a_session_that_is_dying_says_why_at_once_and_tells_it_once() -> None:
    cluster = running(1, restart_policy="Never")
    (name,) = cluster.sessions
    pod = cluster.pods[f"{name}-0"]
    dead = ContainerView("node-asr", "terminated", "Error", "no such model", 1, finished_at=START, node="asr")
    alive = ContainerView("node-tts", "running", node="tts")
    cluster.pods[pod.name] = replace(pod, ready=False, containers=(dead, alive))
    cluster.settle()
    assert cluster.sessions[name].phase == "Stopping"
    assert "'asr' exited with code 1: no such model" in ready_condition(cluster, name)["message"]
    assert not [action for action in cluster.log if isinstance(action, EmitEvent)]
    cluster.fail(pod.name, message="no such model")
    cluster.settle()
    assert [action.reason for action in cluster.log if isinstance(action, EmitEvent)] == ["Failed"]


def test_failures_have_one_reason_for_programs_and_the_cause_in_the_text() -> None:
    cluster = running(1, restart_policy="Never")
    (name,) = cluster.sessions
    cluster.fail(f"{name}-0", 137, "OOMKilled")
    cluster.settle()
    (told,) = (action for action in cluster.log if isinstance(action, EmitEvent))
    assert told.reason == "Failed"
    assert told.message.startswith("OOMKilled: ")


def test_a_thousand_sessions_at_rest_are_not_thought_about_again() -> None:
    cluster = running(200)
    world = cluster.world()
    assert decide(world, cluster.now, cluster.memory).actions == []
    assert len(cluster.memory.rest) == 200
    (first, *_) = cluster.sessions
    cluster.fail(f"{first}-0")
    actions = decide(cluster.world(), cluster.now, cluster.memory).actions
    assert {getattr(action, "name", "") for action in actions} == {first}


def test_what_was_remembered_of_sessions_that_are_gone_is_forgotten() -> None:
    cluster = running(40)
    decide(World(cluster.pipeline), cluster.now, cluster.memory)
    assert not cluster.memory.rest


def test_a_pod_is_asked_for_again_while_nothing_is_known_of_it() -> None:
    cluster = Cluster(pipeline(1))
    cluster.step()
    first = decide(cluster.world(), cluster.now, cluster.memory).actions
    again = decide(cluster.world(), cluster.now, cluster.memory).actions
    assert [action for action in first if isinstance(action, CreatePod)]
    assert first == again
