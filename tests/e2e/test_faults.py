"""Faults on a real cluster: nodes, gateway and operator are killed, and the resource says what happened."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.kubectl import Namespace, condition, phase
from tests.e2e.scenes import claim, flowing, messages, moments, running_pod, session_of, wait_for_flow

KILL = (
    "import os,signal;"
    "mine=[int(p) for p in os.listdir('/proc') if p.isdigit() and int(p) not in (1, os.getpid())];"
    "[os.kill(p, signal.{signal}) for p in mine]"
)
"""Signals every process of a container but PID 1, which is the zygote, and the program that says this."""


OUT_OF_TIME = (
    "import resource, time, urllib.request\n"
    "resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))\n"
    "end = time.monotonic() + 60\n"
    "while time.monotonic() < end:\n"
    "    urllib.request.urlopen('http://127.0.0.1:9090/metrics', timeout=5).read()\n"
)
"""Makes the kernel kill process 1 of a container, which no signal from inside can do: it may use a second of CPU, and is
kept busy."""


OUT_OF_MEMORY = """
for process, score in ((1, 1000), ("self", 0)):
    with open(f"/proc/{process}/oom_score_adj", "w") as file:
        file.write(str(score))
hoard = [bytearray(1 << 22) for _ in range(2000)]
"""
"""Takes all the memory of a container, after saying that process 1 is to be killed first and itself last."""


@pytest.fixture
def pipeline(namespace: Namespace, request: pytest.FixtureRequest) -> Iterator[str]:
    """A pipeline with the session policy that the test's mark gives; its session runs, and data flows through it."""
    name = request.function.__name__.removeprefix("test_")[:30].rstrip("_").replace("_", "-")
    namespace.apply(flowing(name, session={"restartPolicy": "Never", **getattr(request, "param", {})}))
    namespace.wait("a running session", lambda: session_of(namespace, name))
    wait_for_flow(namespace, running_pod(namespace, name))
    yield name
    namespace.delete("mediapipeline", name)


def kill_node(namespace: Namespace, pod: str, node: str, signal: str = "SIGKILL") -> None:
    namespace.execute(pod, f"node-{node}", "python", "-c", KILL.format(signal=signal), check=False)


def test_a_killed_node_fails_its_session(namespace: Namespace, pipeline: str, report: dict[str, Any]) -> None:
    pod = running_pod(namespace, pipeline)
    with moments(
        namespace, pipeline, lambda status: "'exitCode': 137" in status, lambda status: "'phase': 'Failed'" in status
    ) as seen:
        kill_node(namespace, pod, "gain-1")
    report.update(seen.figures("node killed"))
    failed = namespace.wait("the failure", lambda: session_of(namespace, pipeline, "Failed"))
    ready = condition(failed, "Ready")
    assert "gain_1" in ready["message"]
    exits = {node["name"]: node.get("lastExit", {}) for node in failed["status"]["nodes"]}
    assert exits["gain_1"]["exitCode"] == 137
    assert exits.keys() == {"tone", "gain_1", "meter"}


@pytest.mark.parametrize("pipeline", [{"restartPolicy": "OnFailure"}], indirect=True)
def test_a_failed_session_is_started_again(namespace: Namespace, pipeline: str, report: dict[str, Any]) -> None:
    pod = running_pod(namespace, pipeline)
    kill_node(namespace, pod, "meter")
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
    kill_node(namespace, pod, "gain-1")
    begun = time.monotonic()

    def restarted() -> bool:
        session = session_of(namespace, pipeline)
        nodes = {node["name"]: node for node in session["status"]["nodes"]} if session else {}
        return int(nodes.get("gain_1", {}).get("restarts", 0)) == 1

    namespace.wait("the restart to show", restarted)
    report["node killed to restarted in the status"] = round(time.monotonic() - begun, 2)
    assert running_pod(namespace, pipeline) == pod
    wait_for_flow(namespace, pod, messages(namespace, pod))


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


def condition_reason(namespace: Namespace, pipeline: str, kind: str) -> str:
    """The reason of a condition that is True of the pipeline's session, "" for none."""
    found = (condition(item, kind) for item in namespace.list("mediasessions", f"ringline.dev/pipeline={pipeline}"))
    return next((item["reason"] for item in found if item.get("status") == "True"), "")


@pytest.mark.parametrize(
    ("script", "how"), [(OUT_OF_TIME, "killed"), (OUT_OF_MEMORY, "out of memory")], ids=["killed", "memory"]
)
def test_a_gateway_that_dies_comes_back_and_the_session_goes_on(
    namespace: Namespace, pipeline: str, report: dict[str, Any], script: str, how: str
) -> None:
    pod = running_pod(namespace, pipeline)
    before = wait_for_flow(namespace, pod)
    begun = time.monotonic()
    namespace.execute(pod, "gateway", "python", "-c", script, check=False)

    def again() -> dict[str, Any] | None:
        body = namespace.get("pod", pod)
        states = ((body or {}).get("status") or {}).get("initContainerStatuses", [])
        gone_on = states and states[0]["restartCount"] == 1 and condition(body or {}, "Ready").get("status") == "True"
        return session_of(namespace, pipeline) if gone_on else None

    session = namespace.wait("the gateway's second life", again)
    report[f"gateway {how} to pod ready again"] = round(time.monotonic() - begun, 2)
    assert session["status"]["podName"] == pod
    assert session["status"]["attempt"] == 0
    (gateway,) = (namespace.get("pod", pod) or {})["status"]["initContainerStatuses"]
    reason = gateway["lastState"]["terminated"]["reason"]
    assert reason == "OOMKilled" if how == "out of memory" else reason != "Completed"
    wait_for_flow(namespace, pod, before)


def test_a_node_that_takes_too_much_memory_is_named_as_such(
    namespace: Namespace, pipeline: str, report: dict[str, Any]
) -> None:
    pod = running_pod(namespace, pipeline)
    eat = (
        "import os; os.open; open('/proc/self/oom_score_adj','w').write('0'); b=[bytearray(1<<24) for _ in range(400)]"
    )
    begun = time.monotonic()
    namespace.execute(pod, "node-gain-1", "python", "-c", eat, check=False)
    failed = namespace.wait("the failure", lambda: session_of(namespace, pipeline, "Failed"))
    report["node out of memory to session failed"] = round(time.monotonic() - begun, 2)
    exits = {node["name"]: node.get("lastExit", {}) for node in failed["status"]["nodes"]}
    assert exits["gain_1"]["reason"] == "OOMKilled"


def test_a_frozen_node_is_found_and_ends_its_session(
    namespace: Namespace, pipeline: str, report: dict[str, Any]
) -> None:
    pod = running_pod(namespace, pipeline)
    kill_node(namespace, pod, "meter", "SIGSTOP")
    begun = time.monotonic()
    namespace.wait(
        "the pod not to be ready", lambda: condition(namespace.get("pod", pod) or {}, "Ready").get("status") == "False"
    )
    report["node frozen to pod not ready"] = round(time.monotonic() - begun, 2)

    def noticed() -> bool:
        return bool(condition_reason(namespace, pipeline, "Degraded"))

    namespace.wait("the session to be degraded", noticed)
    report["node frozen to degraded"] = round(time.monotonic() - begun, 2)
    failed = namespace.wait("the failure", lambda: session_of(namespace, pipeline, "Failed"))
    report["node frozen to session failed"] = round(time.monotonic() - begun, 2)
    assert "meter" in condition(failed, "Ready")["message"]


@pytest.mark.parametrize("pipeline", [{"restartPolicy": "OnFailure"}], indirect=True)
def test_an_evicted_pod_is_replaced(namespace: Namespace, pipeline: str, report: dict[str, Any]) -> None:
    pod = running_pod(namespace, pipeline)
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace.name}}
    where = f"/api/v1/namespaces/{namespace.name}/pods/{pod}/eviction"
    begun = time.monotonic()
    namespace.run("create", "--raw", where, "-f", "-", text=json.dumps(body))

    def again() -> dict[str, Any] | None:
        session = session_of(namespace, pipeline)
        return session if session and session["status"]["attempt"] == 1 else None

    session = namespace.wait("the next attempt", again)
    report["pod evicted to next attempt running"] = round(time.monotonic() - begun, 2)
    assert session["status"]["podName"] != pod


def test_names_that_are_used_again_at_once_get_lives_of_their_own(namespace: Namespace, report: dict[str, Any]) -> None:
    """A pipeline and a claim, with data flowing, are deleted and made again before their pods have ended."""
    body = flowing("again", replicas=0)
    namespace.apply(body, claim("once", "again"))

    def flows(former: str) -> str:
        def other() -> str:
            found = namespace.get("mediasession", "once")
            pod = namespace.get("pod", "once-0") if phase(found) == "Running" else None
            owners = [ref["uid"] for ref in (pod or {}).get("metadata", {}).get("ownerReferences", ())]
            uid = found["metadata"]["uid"] if found else ""
            return uid if uid in owners and uid != former else ""

        uid = namespace.wait("the claim's own pod", other)
        wait_for_flow(namespace, "once-0")
        return uid

    first = flows("")
    begun = time.monotonic()
    for kind, name in (("mediasession", "once"), ("mediapipeline", "again")):
        namespace.delete(kind, name, wait=False)
    namespace.apply(body, claim("once", "again"))
    flows(first)
    report["claim made again to data flowing"] = round(time.monotonic() - begun, 2)
    assert [pod["metadata"]["name"] for pod in namespace.list("pods", "ringline.dev/pipeline=again")] == ["once-0"]
    namespace.delete("mediasession", "once")
    namespace.delete("mediapipeline", "again")


@pytest.mark.parametrize("absent", [False, True], ids=["with the operator", "without an operator"])
def test_a_deleted_namespace_goes(operator: Namespace, report: dict[str, Any], *, absent: bool) -> None:
    doomed = Namespace("e2e-doomed" + ("-alone" if absent else ""))
    doomed.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": doomed.name}})
    doomed.apply(flowing("doomed"))
    doomed.wait("a running session", lambda: session_of(doomed, "doomed"))
    wait_for_flow(doomed, running_pod(doomed, "doomed"))
    if absent:
        operator.run("scale", "deployment", "--all", "--replicas=0")
        operator.wait("the operator to go", lambda: not operator.list("pods"))
    begun = time.monotonic()
    doomed.run("delete", "namespace", doomed.name, "--wait=true")
    report[f"namespace deleted {'without' if absent else 'with'} the operator"] = round(time.monotonic() - begun, 2)
    if absent:
        operator.run("scale", "deployment", "--all", "--replicas=1")
        operator.wait("the operator", lambda: present(operator))


def present(operator: Namespace) -> list[dict[str, Any]]:
    return [item for item in operator.list("pods") if condition(item, "Ready").get("status") == "True"]
