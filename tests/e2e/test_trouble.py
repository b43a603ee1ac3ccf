"""What keeps a session from starting, on a real cluster: its status says why, soon, and it starts when the obstacle goes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.e2e.kubectl import Namespace, condition, phase
from tests.e2e.scenes import flowing, moments, pods_of, session_of, sessions

QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "obstacle"},
    "spec": {"hard": {"pods": "0"}},
}
LIMITS = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "obstacle"},
    "spec": {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]},
}


def why(namespace: Namespace, pipeline: str) -> dict[str, Any]:
    """The Ready condition of the pipeline's session, {} for none."""
    return next((condition(item, "Ready") for item in sessions(namespace, pipeline)), {})


def told(
    namespace: Namespace, body: dict[str, Any], words: tuple[str, ...], report: dict[str, Any], what: str
) -> dict[str, Any]:
    """Apply a pipeline, wait until its session's reason or message has one of these words, and return the condition."""
    begun = time.monotonic()
    namespace.apply(body)
    name = body["metadata"]["name"]

    def found() -> dict[str, Any] | None:
        said = why(namespace, name)
        text = f"{said.get('reason', '')} {said.get('message', '')}"
        return said if any(word in text for word in words) else None

    said = namespace.wait(f"{what} in the status", found)
    report[f"{what} to reason in the status"] = round(time.monotonic() - begun, 2)
    assert said["status"] == "False"
    return said


@pytest.mark.parametrize(("obstacle", "words"), [(QUOTA, "exceeded quota"), (LIMITS, "maximum memory usage")])
def test_a_pod_that_is_refused_is_made_when_it_may_be(
    namespace: Namespace, report: dict[str, Any], obstacle: dict[str, Any], words: str
) -> None:
    kind = obstacle["kind"]
    name = f"refused-{kind.lower()}"
    namespace.apply(obstacle)
    if kind == "ResourceQuota":
        namespace.wait("the quota to be counted", lambda: (namespace.get("quota", "obstacle") or {}).get("status"))
    said = told(namespace, flowing(name), (words,), report, f"pod refused by {kind}")
    assert "forbidden" in said["message"] or said["reason"]
    assert pods_of(namespace, name) == []
    events = namespace.list("events")
    assert sum(item["reason"] == "PodRefused" and name in item["involvedObject"]["name"] for item in events) < 5
    namespace.delete(kind, "obstacle")
    namespace.wait("a running session", lambda: session_of(namespace, name))
    namespace.delete("mediapipeline", name)


def test_a_pod_that_fits_on_no_machine_says_so(namespace: Namespace, report: dict[str, Any]) -> None:
    body = flowing("nowhere", pod={"nodeSelector": {"example.com/gpu": "none-has-it"}})
    said = told(namespace, body, ("Unschedulable",), report, "unschedulable pod")
    assert "node" in said["message"]
    (session,) = sessions(namespace, "nowhere")
    assert phase(session) == "Pending"
    assert condition(session, "PodScheduled")["status"] == "False"
    namespace.delete("mediapipeline", "nowhere")


@pytest.mark.parametrize(
    ("registry", "how"), [("127.0.0.1:1", "registry refuses"), ("registry.invalid", "registry is not found")]
)
def test_an_image_that_can_not_be_pulled_says_so_and_is_not_asked_for_in_a_loop(
    namespace: Namespace, report: dict[str, Any], registry: str, how: str
) -> None:
    name = f"imageless-{how.rpartition(' ')[2]}"
    body = flowing(name)
    body["spec"]["nodes"][0]["image"] = f"{registry}/nobody/has-this:1"
    words = ("ErrImagePull", "ImagePullBackOff")

    def says(status: str) -> bool:
        return any(word in status for word in words)

    with moments(namespace, name, says, says) as seen:
        namespace.apply(body)
    report.update(seen.figures(f"image whose {how}"))
    assert registry in why(namespace, name)["message"]
    assert len(pods_of(namespace, name)) == 1
    namespace.delete("mediapipeline", name)


def says_why(status: str) -> bool:
    """Whether the condition does; the exit in status.nodes does not count."""
    return "node 'gain_1' exited with code 1" in status and "no_such_type" in status


def test_a_node_that_fails_to_initialize_is_named_with_its_last_words(
    namespace: Namespace, report: dict[str, Any]
) -> None:
    body = flowing("broken", session={"restartPolicy": "Never"})
    body["spec"]["nodes"][1] = {"name": "gain_1", "type": "no_such_type"}
    body["spec"]["channels"] = [
        {"from": "tone.audio", "to": "gain_1.audio"},
        {"from": "gain_1.audio", "to": "meter.audio"},
    ]
    begun = time.monotonic()
    with moments(namespace, "broken", lambda status: "'exitCode': 1" in status, says_why) as seen:
        namespace.apply(body)
    report.update(seen.figures("crash in initialize"))
    session = namespace.wait("the failure", lambda: session_of(namespace, "broken", "Failed"))
    report["crash in initialize to session failed"] = round(time.monotonic() - begun, 2)
    assert condition(session, "Ready")["reason"] == "UnknownNodeTypeError"
    nodes = {node["name"]: node for node in session["status"]["nodes"]}
    assert set(nodes) == {"tone", "gain_1", "meter"}
    assert nodes["gain_1"]["lastExit"]["exitCode"] == 1
    assert "no_such_type" in nodes["gain_1"]["lastExit"]["message"]
    namespace.delete("mediapipeline", "broken")


def test_shared_memory_that_does_not_suffice_is_a_condition_and_can_be_mended(namespace: Namespace) -> None:
    body = flowing("tight", runtime={"maxMessageSize": "16Mi", "shmSize": "1Mi"})
    namespace.apply(body)

    def budget(wanted: str) -> dict[str, Any] | None:
        found = namespace.get("mediapipeline", "tight") or {}
        return found if condition(found, "ShmBudget").get("status") == wanted else None

    found = namespace.wait("the verdict", lambda: budget("False"))
    assert condition(found, "ShmBudget")["reason"] == "TooSmall"
    assert "shmSize" in condition(found, "ShmBudget")["message"]
    assert condition(found, "Accepted")["status"] == "False"
    assert sessions(namespace, "tight") == []
    body["spec"]["runtime"] = {"maxMessageSize": "256Ki", "shmSize": "8Mi"}
    namespace.apply(body)
    found = namespace.wait("another verdict", lambda: budget("True"))
    assert found["status"]["shm"]["size"] == "8Mi"
    assert condition(found, "ShmBudget")["observedGeneration"] == found["metadata"]["generation"] == 2
    namespace.wait("a running session", lambda: session_of(namespace, "tight"))
    namespace.delete("mediapipeline", "tight")
