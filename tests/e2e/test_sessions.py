"""From `kubectl apply` to living sessions, on a real cluster: ready, claimed, scaled, refused, ended."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest

from tests.e2e.kubectl import KubectlError, Namespace, condition, phase

PIPELINE = "ringline.dev/pipeline=voice"


def unclaimed(namespace: Namespace) -> list[dict[str, Any]]:
    return namespace.list("mediasessions", f"{PIPELINE},ringline.dev/claimed=false")


def running(namespace: Namespace, count: int = 1) -> list[dict[str, Any]]:
    found = [item for item in unclaimed(namespace) if phase(item) == "Running"]
    return found if len(found) == count else []


def claimed(namespace: Namespace, name: str) -> dict[str, Any] | None:
    found = namespace.get("mediasession", name)
    return found if phase(found) == "Running" else None


@pytest.fixture(scope="module")
def pipeline(namespace: Namespace, voice: dict[str, Any], report: dict[str, Any]) -> str:
    """The voice example, applied, with one session running."""
    begun = time.monotonic()
    namespace.apply(voice)
    namespace.wait("a running session", lambda: running(namespace))
    report["apply to first session running"] = round(time.monotonic() - begun, 2)
    return str(voice["metadata"]["name"])


def test_an_applied_pipeline_becomes_a_running_session(namespace: Namespace, pipeline: str) -> None:
    def settled() -> dict[str, Any] | None:
        found = namespace.get("mediapipeline", pipeline)
        return found if found and condition(found, "Ready").get("status") == "True" else None

    body = namespace.wait("the pipeline to be ready", settled)
    assert condition(body, "Accepted")["reason"] == "Valid"
    (session,) = unclaimed(namespace)
    nodes = {node["name"]: node for node in session["status"]["nodes"]}
    assert set(nodes) == {"vad", "asr", "answer", "tts"}
    assert {node["state"] for node in nodes.values()} == {"Running"}


def test_the_pod_is_confined_and_has_no_token(namespace: Namespace, pipeline: str) -> None:
    (session,) = unclaimed(namespace)
    assert pipeline
    pod = namespace.get("pod", session["status"]["podName"])
    assert pod is not None
    assert pod["spec"]["automountServiceAccountToken"] is False
    for container in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert "memory" in container["resources"]["limits"]


def test_a_claim_takes_the_ready_pod_and_the_pool_is_filled_again(
    namespace: Namespace, pipeline: str, report: dict[str, Any]
) -> None:
    (ready,) = namespace.wait("a running session", lambda: running(namespace))
    pod = ready["status"]["podName"]
    claim = {
        "apiVersion": "ringline.dev/v1alpha1",
        "kind": "MediaSession",
        "metadata": {"name": "call-1"},
        "spec": {"pipelineRef": {"name": pipeline}, "parameters": {"greeting": "Hello"}},
    }
    begun = time.monotonic()
    namespace.apply(claim)
    session = namespace.wait("the claim to run", lambda: claimed(namespace, "call-1"))
    report["claim to running, by kubectl"] = round(time.monotonic() - begun, 2)
    assert session["status"]["podName"] == pod
    assert session["status"]["claimedFrom"] == ready["metadata"]["name"]
    others = namespace.wait("another ready session", lambda: running(namespace))
    assert others[0]["metadata"]["name"] != ready["metadata"]["name"]
    namespace.delete("mediasession", "call-1")
    namespace.wait("the claimed pod to go", lambda: namespace.get("pod", pod) is None)


def test_scaling_up_and_down_and_suspending(namespace: Namespace, pipeline: str) -> None:
    namespace.run("scale", "mediapipeline", pipeline, "--replicas=2")
    namespace.wait("two running sessions", lambda: running(namespace, 2))
    namespace.run("scale", "mediapipeline", pipeline, "--replicas=1")
    namespace.wait("one session", lambda: len(unclaimed(namespace)) == 1)
    namespace.run("patch", "mediapipeline", pipeline, "--type=merge", "-p", '{"spec": {"suspend": true}}')
    namespace.wait("no session", lambda: not unclaimed(namespace) and not namespace.list("pods", PIPELINE))
    namespace.run("patch", "mediapipeline", pipeline, "--type=merge", "-p", '{"spec": {"suspend": false}}')
    namespace.wait("a running session", lambda: running(namespace))


def test_the_api_server_refuses_what_the_schema_can_say(namespace: Namespace, voice: dict[str, Any]) -> None:
    def refused(change: dict[str, Any], words: str) -> None:
        body = copy.deepcopy(voice)
        body["metadata"]["name"] = "refused"
        body["spec"].update(change)
        with pytest.raises(KubectlError, match=words):
            namespace.apply(body)

    refused({"replicas": -1}, "replicas")
    refused({"nodes": []}, "nodes")
    refused({"ingress": {"enabled": True}}, "tokenSecretRef")
    refused({"updateStrategy": {"type": "Later"}}, "updateStrategy")


def test_a_graph_that_is_wrong_is_not_accepted_and_says_where(namespace: Namespace, voice: dict[str, Any]) -> None:
    body = copy.deepcopy(voice)
    body["metadata"]["name"] = "wrong"
    body["spec"]["channels"][0]["to"] = "asr.audo"
    namespace.apply(body)
    found = namespace.wait(
        "a verdict", lambda: condition(namespace.get("mediapipeline", "wrong") or {}, "Accepted") or None
    )
    assert found["status"] == "False"
    assert "node 'asr' has no input port 'audo'" in found["message"]
    assert not namespace.list("mediasessions", "ringline.dev/pipeline=wrong")
    namespace.delete("mediapipeline", "wrong")


def test_an_image_that_can_not_be_had_is_named_in_the_status(namespace: Namespace, voice: dict[str, Any]) -> None:
    body = copy.deepcopy(voice)
    body["metadata"]["name"] = "imageless"
    for node in body["spec"]["nodes"]:
        node |= {"image": "ringline/does-not-exist:1", "imagePullPolicy": "Never"}
    namespace.apply(body)

    def reason() -> str:
        sessions = namespace.list("mediasessions", "ringline.dev/pipeline=imageless")
        said = [condition(item, "Ready").get("reason", "") for item in sessions]
        return next((item for item in said if "Image" in item), "")

    assert namespace.wait("the reason", reason) in {"ErrImageNeverPull", "ImagePullBackOff", "ErrImagePull"}
    namespace.delete("mediapipeline", "imageless")


def test_a_deleted_pipeline_takes_its_sessions_and_pods_with_it(namespace: Namespace, pipeline: str) -> None:
    namespace.delete("mediapipeline", pipeline)
    namespace.wait("everything to go", lambda: not namespace.list("pods", PIPELINE) and not unclaimed(namespace))
