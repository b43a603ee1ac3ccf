"""Faults on a real cluster: nodes, gateway and operator are killed, and the resource says what happened."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.kubectl import Namespace, condition, phase

KILL = (
    "import os,signal;"
    "mine=[int(p) for p in os.listdir('/proc') if p.isdigit() and int(p) not in (1, os.getpid())];"
    "[os.kill(p, signal.{signal}) for p in mine]"
)
"""Signals every process of a container but PID 1, which is the zygote, and the program that says this."""


def session_of(namespace: Namespace, pipeline: str, wanted: str = "Running") -> dict[str, Any] | None:
    found = namespace.list("mediasessions", f"ringline.dev/pipeline={pipeline}")
    return next((item for item in found if phase(item) == wanted), None)


@pytest.fixture
def pipeline(namespace: Namespace, voice: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[str]:
    """The voice example with what the test's mark `session` adds, running."""
    body = copy.deepcopy(voice)
    name = request.node.name.removeprefix("test_")[:30].rstrip("_").replace("_", "-")
    body["metadata"]["name"] = name
    body["spec"]["session"] = {"restartPolicy": "Never", **getattr(request, "param", {})}
    namespace.apply(body)
    namespace.wait("a running session", lambda: session_of(namespace, name))
    yield name
    namespace.delete("mediapipeline", name)


def kill_node(namespace: Namespace, pod: str, node: str, signal: str = "SIGKILL") -> None:
    namespace.execute(pod, f"node-{node}", "python", "-c", KILL.format(signal=signal), check=False)


def running_pod(namespace: Namespace, pipeline: str) -> str:
    session = session_of(namespace, pipeline)
    assert session is not None
    return str(session["status"]["podName"])


def test_a_killed_node_fails_its_session(namespace: Namespace, pipeline: str, report: dict[str, Any]) -> None:
    kill_node(namespace, running_pod(namespace, pipeline), "asr")
    begun = time.monotonic()
    failed = namespace.wait("the failure", lambda: session_of(namespace, pipeline, "Failed"))
    report["node killed to session failed"] = round(time.monotonic() - begun, 2)
    ready = condition(failed, "Ready")
    assert "asr" in ready["message"]
    exits = {node["name"]: node.get("lastExit", {}) for node in failed["status"]["nodes"]}
    assert exits["asr"]["exitCode"] == 137


@pytest.mark.parametrize("pipeline", [{"restartPolicy": "OnFailure"}], indirect=True)
def test_a_failed_session_is_started_again(namespace: Namespace, pipeline: str, report: dict[str, Any]) -> None:
    pod = running_pod(namespace, pipeline)
    kill_node(namespace, pod, "tts")
    begun = time.monotonic()

    def again() -> dict[str, Any] | None:
        session = session_of(namespace, pipeline)
        return session if session and session["status"]["attempt"] == 1 else None

    session = namespace.wait("the second attempt", again)
    report["node killed to next attempt running"] = round(time.monotonic() - begun, 2)
    assert session["status"]["podName"] != pod


@pytest.mark.parametrize("pipeline", [{"onNodeCrash": "RestartNode"}], indirect=True)
def test_a_node_is_restarted_inside_its_session(namespace: Namespace, pipeline: str, report: dict[str, Any]) -> None:
    pod = running_pod(namespace, pipeline)
    kill_node(namespace, pod, "answer")
    begun = time.monotonic()

    def restarted() -> bool:
        session = session_of(namespace, pipeline)
        nodes = {node["name"]: node for node in session["status"]["nodes"]} if session else {}
        return int(nodes.get("answer", {}).get("restarts", 0)) == 1

    namespace.wait("the restart to show", restarted)
    report["node killed to restarted in the status"] = round(time.monotonic() - begun, 2)
    assert running_pod(namespace, pipeline) == pod


def test_a_pod_deleted_by_hand_fails_its_session(namespace: Namespace, pipeline: str) -> None:
    namespace.run("delete", "pod", running_pod(namespace, pipeline), "--wait=false")
    failed = namespace.wait("the failure", lambda: session_of(namespace, pipeline, "Failed"))
    assert condition(failed, "Ready")["reason"] in {"PodLost", "PodDeleted"}


def test_sessions_live_on_while_no_operator_runs(namespace: Namespace, operator: Namespace, pipeline: str) -> None:
    pod = running_pod(namespace, pipeline)
    operator.run("scale", "deployment", "--all", "--replicas=0")
    operator.wait("the operator to go", lambda: not operator.list("pods"))
    living = namespace.get("pod", pod)
    assert living is not None
    assert phase(living) == "Running"
    namespace.run("delete", "mediapipeline", pipeline, "--wait=true")
    namespace.wait("its pods to go", lambda: not namespace.list("pods", f"ringline.dev/pipeline={pipeline}"))
    operator.run("scale", "deployment", "--all", "--replicas=1")
    operator.wait(
        "the operator", lambda: [p for p in operator.list("pods") if condition(p, "Ready").get("status") == "True"]
    )
