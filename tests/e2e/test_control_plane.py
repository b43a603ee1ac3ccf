"""The control plane fails on a real cluster: the API server goes away, the leader dies. Sessions do not notice.

How the API server is stopped and started depends on the cluster: RINGLINE_E2E_API_STOP and RINGLINE_E2E_API_START are shell
commands that do it; without them that test is skipped. RINGLINE_E2E_BLACKOUT_SECONDS is how long it stays away (20). With
`kill -STOP` and `kill -CONT` it keeps its connections and answers nobody, as behind a cable that was pulled.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.api import Api, proxied
from tests.e2e.kubectl import KubectlError, Namespace, condition
from tests.e2e.scenes import flowing, life_of, pods_of, running_pod, session_of, wait_for_flow

STOP, START = (os.environ.get(f"RINGLINE_E2E_API_{word}", "") for word in ("STOP", "START"))
BLACKOUT_S = float(os.environ.get("RINGLINE_E2E_BLACKOUT_SECONDS", "20"))
OUT_OF_TIME = "import resource; resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))"
"""Makes the kernel kill process 1 of the operator as soon as it works again: it has used its second of CPU long ago."""


@pytest.fixture
def pipeline(namespace: Namespace, request: pytest.FixtureRequest) -> Iterator[str]:
    """A pipeline with a session through which data flows; each test has its own."""
    name = "steady-" + request.function.__name__.split("_")[2]
    namespace.apply(flowing(name))
    namespace.wait("a running session", lambda: session_of(namespace, name))
    yield name
    # Its pods go later: the collector of garbage takes a minute to come back to an API server that was away.
    namespace.delete("mediapipeline", name)


def answers(namespace: Namespace) -> bool:
    try:
        return namespace.run("get", "--raw", "/readyz", timeout_s=10).strip() == "ok"
    except (KubectlError, subprocess.TimeoutExpired):
        return False


def shell(command: str, *, timeout_s: float) -> None:
    """Run what the environment says. What it starts and leaves behind must not hold our pipes, or our terminal."""
    with tempfile.TemporaryFile() as log:
        words = ["/bin/sh", "-c", command]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=timeout_s, check=False)
        log.seek(0)
        assert done.returncode == 0, log.read().decode(errors="replace")


@pytest.mark.skipif(
    not (STOP and START), reason="RINGLINE_E2E_API_STOP and _START do not say how to stop the API server"
)
def test_without_an_api_server_sessions_go_on_and_the_operator_is_back_soon_after_it(
    namespace: Namespace, pipeline: str, report: dict[str, Any]
) -> None:
    pod = running_pod(namespace, pipeline)
    before, alive = wait_for_flow(namespace, pod), life_of(namespace, pod)
    begun = time.monotonic()
    shell(STOP, timeout_s=60)
    try:
        namespace.wait("the API server to be gone", lambda: not answers(namespace))
        time.sleep(max(0.0, BLACKOUT_S - (time.monotonic() - begun)))
    finally:
        shell(START, timeout_s=120)
    namespace.wait("the API server", lambda: answers(namespace))
    report["blackout of the API server"] = round(time.monotonic() - begun, 2)
    back = time.monotonic()
    namespace.run("scale", "mediapipeline", pipeline, "--replicas=2")
    namespace.wait("the operator to act", lambda: len(pods_of(namespace, pipeline)) == 2)
    report["API server back to operator acting"] = round(time.monotonic() - back, 2)
    assert life_of(namespace, pod) == alive
    # 50 messages a second: those of the blackout are there, not only those of the last moment.
    wait_for_flow(namespace, pod, before + 25 * BLACKOUT_S)


def present(operator: Namespace) -> list[dict[str, Any]]:
    return [item for item in operator.list("pods") if condition(item, "Ready").get("status") == "True"]


def lease(operator: Namespace) -> dict[str, Any]:
    (found,) = operator.list("leases")
    return dict(found["spec"])


class Seen:
    """Every pod of a pipeline that ever was, while watched."""

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self.uids: dict[str, str] = {}

    def see(self, body: dict[str, Any], _now: float) -> None:
        meta = body["metadata"]
        if (meta.get("labels") or {}).get("ringline.dev/pipeline") == self._pipeline:
            self.uids[meta["uid"]] = meta["name"]


def test_a_leader_that_dies_without_a_word_is_followed_when_its_lease_is_over(
    namespace: Namespace, operator: Namespace, pipeline: str, report: dict[str, Any]
) -> None:
    pod = running_pod(namespace, pipeline)
    alive = life_of(namespace, pod)
    wait_for_flow(namespace, pod)
    operator.run("scale", "deployment", "--all", "--replicas=2")
    operator.wait("two operators", lambda: len(present(operator)) == 2)
    first = operator.wait("a leader", lambda: lease(operator).get("holderIdentity"))
    leader = next(item["metadata"]["name"] for item in present(operator) if first.startswith(item["metadata"]["name"]))
    seen = Seen(pipeline)
    with proxied() as api, watched(api, namespace, seen):
        begun = time.monotonic()
        operator.execute(leader, "operator", "python", "-c", OUT_OF_TIME, check=False)
        # What is wanted now nobody does until the next one leads.
        namespace.run("scale", "mediapipeline", pipeline, "--replicas=3")
        operator.wait("another leader", lambda: lease(operator).get("holderIdentity") not in ("", first))
        report["leader killed -9 to takeover"] = round(time.monotonic() - begun, 2)
        namespace.wait("three sessions", lambda: ready(namespace, pipeline) == 3)
    names = list(seen.uids.values())
    assert len(names) == len(set(names)) == 3, "one pod for each session, none made twice"
    assert life_of(namespace, pod) == alive
    operator.run("scale", "deployment", "--all", "--replicas=1")
    operator.wait("one operator", lambda: len(operator.list("pods")) == 1 and len(present(operator)) == 1)


def watched(api: Api, namespace: Namespace, seen: Seen) -> Any:
    return api.watching(f"/api/v1/namespaces/{namespace.name}/pods", seen.see)


def ready(namespace: Namespace, pipeline: str) -> int:
    body = namespace.get("mediapipeline", pipeline) or {}
    return int((body.get("status") or {}).get("readyReplicas", 0))
