"""What resources say of themselves: outcomes, phases, conditions, nodes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline_operator.outcome import BACKSTOP_SECONDS, Outcome, exit_record, given_up_at, outcome_of
from ringline_operator.status import (
    SLOW_START_SECONDS,
    conditions,
    finished_status,
    pipeline_status,
    restarted_status,
    rfc3339,
    running_status,
)
from ringline_operator.views import ContainerView, PodView, SessionView, seconds
from tests.operator.pictures import START, UID, pipeline

SESSION = SessionView("voice-a", "uid-s", START, owner_uid=UID, pod_name="voice-a-0")
POD = PodView("voice-a-0", "uid-p", "1", "voice-a", "uid-s", START, phase="Running", scheduled=True, ip="10.0.0.7")


def ended(name: str, code: int, at: float, reason: str = "Error", **record: Any) -> ContainerView:
    message = json.dumps(record) if record else ""
    node = name.removeprefix("node-") if name.startswith("node-") else ""
    return ContainerView(name, "terminated", reason, message, code, finished_at=at, node=node)


def failed(*containers: ContainerView, reason: str = "") -> PodView:
    return replace(POD, phase="Failed", containers=containers, reason=reason)


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(item for item in status["conditions"] if item["type"] == kind)


def test_times_are_written_as_kubernetes_writes_them() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
    assert seconds(rfc3339(START)) == START
    assert seconds(None) is None


def test_a_session_without_a_pod_yet_has_no_outcome() -> None:
    assert outcome_of(replace(SESSION, pod_name=""), None, START) is None
    assert outcome_of(SESSION, POD, START) is None


def test_a_vanished_pod_is_an_outcome() -> None:
    outcome = outcome_of(SESSION, None, START)
    assert outcome is not None
    assert (outcome.succeeded, outcome.reason) == (False, "PodLost")
    assert "voice-a-0" in outcome.message


def test_the_time_of_a_lost_pod_is_remembered() -> None:
    known = replace(SESSION, status={"attemptEndTime": rfc3339(START - 30)})
    outcome = outcome_of(known, None, START)
    assert outcome is not None
    assert outcome.at == START - 30


def test_a_pod_that_ended_well_is_a_success() -> None:
    outcome = outcome_of(SESSION, replace(POD, phase="Succeeded"), START)
    assert outcome is not None
    assert (outcome.succeeded, outcome.reason) == (True, "Completed")


@pytest.mark.parametrize("reason", ["Evicted", "DeadlineExceeded", "NodeShutdown"])
def test_the_kubelets_reason_wins(reason: str) -> None:
    outcome = outcome_of(SESSION, failed(ended("node-a", 1, START), reason=reason), START)
    assert outcome is not None
    assert outcome.reason == reason


def test_the_gateways_word_counts_before_the_nodes() -> None:
    told = ended("gateway", 1, START + 5, node="asr", reason="OOMKilled", exitCode=137, message="last words")
    outcome = outcome_of(SESSION, failed(ended("node-tts", 143, START), told), START + 6)
    assert outcome is not None
    assert outcome.reason == "OOMKilled"
    assert outcome.message == "node 'asr' exited with code 137: last words"


def test_without_the_gateways_word_the_first_to_fall_is_blamed() -> None:
    outcome = outcome_of(SESSION, failed(ended("node-b", 1, START + 2), ended("node-a", 139, START)), START + 3)
    assert outcome is not None
    assert outcome.message.startswith("node 'a' exited with code 139")


def test_a_pod_that_says_nothing_still_has_an_outcome() -> None:
    outcome = outcome_of(SESSION, failed(), START)
    assert outcome is not None
    assert (outcome.succeeded, outcome.reason) == (False, "Error")


def test_a_pod_whose_gateway_does_not_end_it_is_given_up_after_a_while() -> None:
    alive = ContainerView("node-b", "running", node="b")
    stuck = replace(POD, containers=(ended("node-a", 1, START), alive))
    assert outcome_of(SESSION, stuck, START + 1) is None
    late = outcome_of(SESSION, stuck, START + BACKSTOP_SECONDS + 1)
    assert late is not None
    assert not late.succeeded


GATEWAY = ContainerView("gateway", "running", ready=True)
"""It ends after the nodes."""


def test_an_attempt_is_over_when_no_node_of_it_will_run_again() -> None:
    alive = ContainerView("node-b", "running", node="b")
    dead, other = ended("node-a", 137, START), ended("node-b", 1, START)
    assert outcome_of(SESSION, replace(POD, containers=(GATEWAY, dead, alive)), START) is None
    outcome = outcome_of(SESSION, replace(POD, containers=(GATEWAY, dead, ended("node-b", 0, START))), START)
    assert outcome is not None
    assert (outcome.succeeded, outcome.message) == (False, "node 'a' exited with code 137")
    several = replace(POD, containers=(GATEWAY, dead, other))
    assert outcome_of(SESSION, several, START) is None, "the gateway knows which was first"
    told = ended("gateway", 1, START, node="b", reason="Boom", exitCode=1)
    outcome = outcome_of(SESSION, replace(POD, containers=(told, dead, other)), START)
    assert outcome is not None
    assert outcome.reason == "Boom"


def test_a_pod_whose_nodes_ended_well_is_a_success_once_its_gateway_has_ended_too() -> None:
    done = (ended("node-a", 0, START), ended("node-b", 0, START))
    assert outcome_of(SESSION, replace(POD, containers=(GATEWAY, *done)), START) is None
    outcome = outcome_of(SESSION, replace(POD, containers=(ended("gateway", 1, START), *done)), START)
    assert outcome is not None
    assert outcome.succeeded, "how a gateway ends after its nodes does not matter, as to Kubernetes"
    taken = replace(POD, deleting=True, containers=(ended("gateway", 0, START), *done))
    outcome = outcome_of(SESSION, taken, START)
    assert outcome is not None
    assert (outcome.succeeded, outcome.reason) == (False, "PodDeleted")


def test_a_pod_that_says_nothing_of_its_containers_has_not_ended() -> None:
    assert outcome_of(SESSION, replace(POD, containers=(ended("gateway", 1, START),)), START) is None


@given(st.text(max_size=200))
def test_any_termination_message_is_read_or_passed_over(text: str) -> None:
    record = exit_record(ContainerView("node-a", "terminated", message=text))
    assert isinstance(record, dict)


PHASES: list[tuple[PodView | None, str, str]] = [
    (None, "Pending", "PodPending"),
    (replace(POD, scheduled=False, reason="Unschedulable"), "Pending", "Unschedulable"),
    (POD, "Starting", "Starting"),
    (replace(POD, ready=True), "Running", "Ready"),
    (replace(POD, deleting=True, ready=True), "Stopping", "PodDeleted"),
    (
        replace(POD, containers=(ContainerView("node-a", "waiting", "ImagePullBackOff", "no such image"),)),
        "Starting",
        "ImagePullBackOff",
    ),
    (replace(POD, containers=(ContainerView("node-a", "waiting", "PodInitializing"),)), "Starting", "Starting"),
]


@pytest.mark.parametrize(("pod", "phase", "reason"), PHASES, ids=[f"{phase}-{reason}" for _, phase, reason in PHASES])
def test_phase_and_reason_follow_from_the_pod(pod: PodView | None, phase: str, reason: str) -> None:
    status = running_status(SESSION, pod, START)
    assert status["phase"] == phase
    assert condition(status, "Ready")["reason"] == reason
    assert (condition(status, "Ready")["status"] == "True") is (phase == "Running")


def test_a_refusal_of_the_api_server_is_shown() -> None:
    status = running_status(SESSION, None, START, waiting=("Forbidden", "exceeded quota: small"))
    assert condition(status, "Ready")["message"] == "exceeded quota: small"
    assert condition(status, "Ready")["reason"] == "Forbidden"


def test_a_status_written_twice_is_the_same() -> None:
    first = running_status(SESSION, replace(POD, ready=True), START)
    again = running_status(replace(SESSION, status=first), replace(POD, ready=True), START + 100)
    assert first == again


def test_the_ready_time_is_the_first_one() -> None:
    first = running_status(SESSION, replace(POD, ready=True), START)
    wavering = running_status(replace(SESSION, status=first), POD, START + 10)
    again = running_status(replace(SESSION, status=wavering), replace(POD, ready=True), START + 20)
    assert again["readyTime"] == rfc3339(START)
    assert condition(again, "Ready")["lastTransitionTime"] == rfc3339(START + 20)


def test_a_session_tells_where_it_listens() -> None:
    assert running_status(SESSION, POD, START)["endpoint"] == {"address": "10.0.0.7", "port": 9443}


def test_a_claim_tells_from_which_replica_its_pod_came() -> None:
    claim = SessionView("call", "uid-c", START)
    status = running_status(claim, replace(POD, owner_uid="uid-c", claimed=True), START)
    assert status["claimedFrom"] == "voice-a"


def test_nodes_show_their_last_exit() -> None:
    oom = ended("node-asr", 137, START, "OOMKilled", exitCode=137, signal="SIGKILL", message="loading model")
    status = finished_status(SESSION, failed(oom), Outcome(False, "OOMKilled", "…", START), START)
    (node,) = status["nodes"]
    assert node["state"] == "Failed"
    assert node["lastExit"] == {
        "exitCode": 137, "signal": "SIGKILL", "reason": "OOMKilled", "message": "loading model", "finishedAt": rfc3339(START),
    }  # fmt: skip


def test_what_a_gateway_reports_of_living_nodes_is_merged() -> None:
    pod = replace(POD, containers=(ContainerView("node-asr", "running", node="asr"), ended("node-tts", 1, START)))
    report = {
        "nodes": [
            {
                "name": "asr",
                "state": "Loading",
                "progressPercent": 40,
                "message": "model",
                "restarts": 1,
                "secret": "x",
            },
            {"name": "tts", "state": "Running"},
            {"no": "name"},
        ]
    }
    status = running_status(SESSION, pod, START, report=report)
    nodes = {node["name"]: node for node in status["nodes"]}
    assert (nodes["asr"]["state"], nodes["asr"]["progressPercent"], nodes["asr"]["restarts"]) == ("Loading", 40, 1)
    assert "secret" not in nodes["asr"]
    assert nodes["tts"]["state"] == "Failed", "what the kubelet saw is not overruled"


def test_a_restart_begins_a_new_attempt_and_forgets_the_old_pod() -> None:
    known = replace(SESSION, status=running_status(SESSION, replace(POD, ready=True), START))
    outcome = Outcome(False, "Killed", "node 'asr' exited with code 137", START + 5)
    status = restarted_status(known, None, outcome, (START + 5,), START + 6)
    assert status["attempt"] == 1
    assert not {"podName", "readyTime", "endpoint", "attemptEndTime"} & set(status)
    assert status["restartTimes"] == [rfc3339(START + 5)]
    assert "attempt 0 ended" in condition(status, "Ready")["message"]


def test_a_finished_session_is_completed_and_not_ready() -> None:
    status = finished_status(SESSION, None, Outcome(True, "Completed", "all nodes have ended", START), START)
    assert (status["phase"], status["finishTime"]) == ("Succeeded", rfc3339(START))
    assert condition(status, "Completed")["status"] == "True"
    assert condition(status, "Ready")["status"] == "False"


def test_conditions_keep_those_that_are_not_named() -> None:
    former = [{"type": "Other", "status": "True", "lastTransitionTime": "x"}]
    found = conditions(former, START, [("Ready", True, "Ready", "")])
    assert [item["type"] for item in found] == ["Other", "Ready"]


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_a_transition_time_moves_exactly_when_the_status_changes(values: list[bool]) -> None:
    found: list[dict[str, Any]] = []
    since, last = START, None
    for number, value in enumerate(values):
        now = START + 60 * number
        found = conditions(found, now, [("Ready", value, "R", "")])
        if value is not last:
            since, last = now, value
        assert found[0]["lastTransitionTime"] == rfc3339(since)


@given(st.text(max_size=3000))
def test_messages_are_bounded(text: str) -> None:
    (found,) = conditions((), START, [("Ready", False, "R", text)])
    assert len(found["message"]) <= 1024


def replica(name: str, phase: str, revision: str = "aaaaaa") -> SessionView:
    ready = {"type": "Ready", "status": str(phase == "Running")}
    known = replace(SESSION, name=name, uid=f"uid-{name}", phase=phase, revision=revision)
    return replace(known, status={"conditions": [ready]})


def test_a_pipeline_counts_its_sessions() -> None:
    claims = [replace(replica("c", "Running"), owner_uid=None), replace(replica("d", "Succeeded"), owner_uid=None)]
    replicas = [replica("a", "Running"), replica("b", "Starting", "old"), replica("e", "Failed")]
    status = pipeline_status(pipeline(3), [*replicas, *claims], START, {"needed": "1Mi", "size": "2Mi"})
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"], status["claimedSessions"]) == (
        3,
        1,
        2,
        1,
    )
    assert condition(status, "Ready")["message"] == "1 of 3 sessions are ready"
    assert condition(status, "Degraded")["status"] == "True"
    assert "e" in condition(status, "Degraded")["message"]
    assert status["selector"] == "ringline.dev/pipeline=voice,ringline.dev/claimed=false"


def test_a_suspended_pipeline_is_ready_with_nothing() -> None:
    assert condition(pipeline_status(pipeline(3, suspend=True), [], START, {}), "Ready")["status"] == "True"


def test_a_refused_pipeline_names_all_its_problems() -> None:
    view = replace(pipeline(1), problems=("spec.a: first", "spec.b: second"))
    accepted = condition(pipeline_status(view, [], START, {}), "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "Invalid")
    assert accepted["message"] == "spec.a: first; spec.b: second"
    assert accepted["observedGeneration"] == 1


def worked(pod: PodView) -> dict[str, Any]:
    """The status of a session that was ready, and whose pod is now as given."""
    first = running_status(SESSION, replace(POD, ready=True), START)
    return running_status(replace(SESSION, status=first), pod, START + 5)


def parts(*, gateway: str = "running", answers: bool = True, node: bool = True) -> tuple[ContainerView, ...]:
    return (
        ContainerView("gateway", gateway, ready=answers),
        ContainerView("node-asr", "running", ready=node, node="asr"),
    )


@pytest.mark.parametrize(
    ("containers", "reason", "words"),
    [
        (parts(gateway="waiting"), "GatewayRestarting", "started again"),
        (parts(node=False), "NodeUnhealthy", "'asr'"),
        (parts(answers=False), "NodeUnhealthy", "gateway reports"),
        (parts(), "PodNotReady", "host machine"),
    ],
)
def test_a_session_in_trouble_goes_on_and_says_with_what(
    containers: tuple[ContainerView, ...], reason: str, words: str
) -> None:
    status = worked(replace(POD, containers=containers))
    assert status["phase"] == "Running"
    assert (condition(status, "Ready")["status"], condition(status, "Degraded")["status"]) == ("False", "True")
    assert condition(status, "Degraded")["reason"] == reason
    assert words in condition(status, "Degraded")["message"]


def test_a_session_one_of_whose_nodes_has_failed_says_so_before_all_have_ended() -> None:
    alive = ContainerView("node-b", "running", ready=True, node="b")
    dead = ContainerView("node-a", "terminated", "UnknownNodeTypeError", "no node type 'c'", 1, node="a")
    pod = replace(POD, containers=(GATEWAY, dead, alive))
    for status in (worked(pod), running_status(SESSION, pod, START)):
        assert status["phase"] == "Stopping"
        ready, degraded = condition(status, "Ready"), condition(status, "Degraded")
        assert (ready["status"], ready["reason"]) == ("False", "UnknownNodeTypeError")
        assert "no node type 'c'" in ready["message"]
        assert (degraded["status"], degraded["reason"]) == ("True", "UnknownNodeTypeError")


def test_a_pod_that_is_slow_to_start_says_for_what_it_waits() -> None:
    absent = ContainerView("node-z", "waiting", "PodInitializing", node="z", image="registry.example/z:1", place=1)
    next_one = ContainerView("node-b", "waiting", "PodInitializing", node="b", image="registry.example/b:1", place=2)
    pod = replace(POD, containers=(GATEWAY, next_one, absent))
    early = condition(running_status(SESSION, pod, START + SLOW_START_SECONDS - 1), "Ready")
    assert early["message"] == "nodes are starting"
    late = condition(running_status(SESSION, pod, START + SLOW_START_SECONDS), "Ready")
    assert late["reason"] == "Starting"
    assert "container node-z" in late["message"], "the kubelet starts one after the other"
    assert "registry.example/z:1" in late["message"]
    there = replace(POD, containers=(GATEWAY, replace(absent, state="running")))
    assert condition(running_status(SESSION, there, START + 60), "Ready")["message"] == "nodes are starting"


def test_a_session_that_was_never_ready_is_not_degraded() -> None:
    status = running_status(SESSION, replace(POD, containers=parts(node=False)), START)
    assert (status["phase"], condition(status, "Degraded")["status"]) == ("Starting", "False")


def test_each_condition_says_of_which_generation_it_speaks() -> None:
    status = running_status(replace(SESSION, generation=1), POD, START)
    assert status["observedGeneration"] == 1
    assert {item["observedGeneration"] for item in status["conditions"]} == {1}


def test_nodes_keep_the_name_that_the_pipeline_gave_them() -> None:
    pod = replace(POD, containers=(ContainerView("node-loud-meter", "running", ready=True, node="loud_meter"),))
    assert [node["name"] for node in running_status(SESSION, pod, START)["nodes"]] == ["loud_meter"]


def test_the_last_progress_of_a_node_is_forgotten_when_the_session_is_ready() -> None:
    report = {"nodes": [{"name": "asr", "state": "Loading", "progressPercent": 80, "message": "model", "restarts": 1}]}
    pod = replace(POD, ready=True, containers=parts())
    loading = running_status(SESSION, replace(pod, ready=False), START, report=report)
    (node,) = running_status(replace(SESSION, status=loading), pod, START, report=report)["nodes"]
    assert node == {"name": "asr", "state": "Running", "restarts": 1}


def test_a_pod_that_was_taken_away_has_not_done_its_work() -> None:
    polite = replace(POD, phase="Succeeded", deleting=True, containers=(ended("node-a", 0, START),))
    outcome = outcome_of(SESSION, polite, START)
    assert outcome is not None
    assert (outcome.succeeded, outcome.reason) == (False, "PodDeleted")
    evicted = outcome_of(SESSION, replace(polite, disruption="EvictionByEvictionAPI"), START)
    assert evicted is not None
    assert evicted.reason == "EvictionByEvictionAPI"


def test_a_pod_on_a_lost_host_machine_is_given_up_after_its_grace_period() -> None:
    stuck = replace(POD, deleting=True, gone_by=START + 10)
    assert given_up_at(stuck) == START + 20
    assert outcome_of(SESSION, stuck, START + 19) is None
    outcome = outcome_of(SESSION, stuck, START + 20)
    assert outcome is not None
    assert (outcome.reason, outcome.at) == ("PodLost", START + 20)


def test_a_gateway_that_does_not_come_to_rest_ends_the_session() -> None:
    restless = replace(POD, containers=(ContainerView("gateway", "running", restarts=3),))
    assert outcome_of(SESSION, restless, START) is None
    again = replace(POD, containers=(ContainerView("gateway", "running", restarts=4),))
    outcome = outcome_of(SESSION, again, START)
    assert outcome is not None
    assert outcome.reason == "GatewayRestarts"


def test_a_gateway_that_hangs_after_its_nodes_is_given_up() -> None:
    done = (ContainerView("gateway", "running"), ended("node-a", 0, START), ended("node-b", 0, START + 4))
    hanging = replace(POD, containers=done)
    assert given_up_at(hanging) == START + 4 + BACKSTOP_SECONDS
    assert outcome_of(SESSION, hanging, START + 20) is None
    outcome = outcome_of(SESSION, hanging, START + 4 + BACKSTOP_SECONDS)
    assert outcome is not None
    assert (outcome.succeeded, outcome.at) == (True, START + 4)
    assert given_up_at(POD) is None


def test_a_budget_that_is_too_small_is_told_apart_from_a_wrong_graph() -> None:
    small = replace(pipeline(1), problems=("shmSize 1 is too small",), over_budget=True)
    status = pipeline_status(small, [], START, {})
    assert condition(status, "ShmBudget")["status"] == "False"
    assert "shmSize" in condition(status, "ShmBudget")["message"]
    fitting = pipeline_status(pipeline(1), [], START, {"needed": "1Mi", "size": "2Mi"})
    assert condition(fitting, "ShmBudget")["message"] == "a session needs 1Mi of 2Mi"
