"""The chart on a real cluster: what it renders is valid, upgrades touch no session, and leaving leaves the sessions."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chart.helm import CHART, sets
from tests.chart.test_chart import EVERYTHING
from tests.chart.test_rights import documented
from tests.e2e.conftest import OPERATOR_NAMESPACE, RELEASE
from tests.e2e.kubectl import Namespace
from tests.e2e.monitoring import KINDS, definition
from tests.e2e.scenes import life

ACCOUNT = f"system:serviceaccount:{OPERATOR_NAMESPACE}:ringline-operator"
RULE = re.compile(r"^(\S+)\s+\[\]\s+\[(\S*)\]\s+\[([a-z ]+)\]$", re.MULTILINE)
Right = tuple[str, frozenset[str], frozenset[str]]


def helm(*arguments: str) -> str:
    done = subprocess.run(["helm", *arguments], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def change(*values: str) -> None:
    """Change the release, as it is installed, by some values."""
    where = ["--namespace", OPERATOR_NAMESPACE, "--reuse-values", "--wait", "--timeout", "120s"]
    helm("upgrade", RELEASE, str(CHART), *where, *sets(values))


def ready_pod(namespace: Namespace) -> dict[str, Any] | None:
    for pod in namespace.list("pods", "ringline.dev/pipeline=voice"):
        conditions = {item["type"]: item["status"] for item in pod["status"].get("conditions", ())}
        if conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]:
            return pod
    return None


@pytest.fixture(scope="module")
def session(namespace: Namespace, voice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pod of a running session."""
    namespace.apply(voice)
    yield namespace.wait("a ready session", lambda: ready_pod(namespace))
    namespace.delete("mediapipeline", "voice")


def rights(cluster: Namespace) -> set[Right]:
    """Return what the API server lets the operator's account do in the cluster, beside what everybody may."""
    text = cluster.run("auth", "can-i", "--list", f"--as={ACCOUNT}")
    rows = [
        (name, frozenset(verbs.split()), frozenset(filter(None, [only]))) for name, only, verbs in RULE.findall(text)
    ]
    return {row for row in rows if not row[0].startswith(("selfsubject", "clustertrustbundles"))}


@pytest.fixture
def monitoring(operator: Namespace) -> Iterator[None]:
    """The kinds of the Prometheus operator; those that the cluster has already stay as they are."""
    missing = [each for kind in KINDS if operator.get("crd", (each := definition(kind))["metadata"]["name"]) is None]
    if missing:
        operator.apply(*missing)
    for each in missing:
        operator.run("wait", "--for=condition=Established", f"crd/{each['metadata']['name']}")
    yield
    for each in missing:
        operator.delete("crd", each["metadata"]["name"])


@pytest.mark.usefixtures("monitoring")
def test_the_api_server_takes_every_object_of_the_chart(operator: Namespace) -> None:
    values = sets([*EVERYTHING, "crds.install=false"])
    rendered = helm("template", "dry", str(CHART), "--namespace", operator.name, *values)
    answer = operator.run("apply", "--dry-run=server", "--validate=strict", "-f", "-", text=rendered)
    lines = answer.splitlines()
    assert len(lines) == rendered.count("\nkind: ") > 11
    assert all(line.endswith("(server dry run)") for line in lines)


def test_the_operator_has_the_documented_rights_and_no_other(operator: Namespace) -> None:
    wanted = documented(watched=["cluster"], cluster=True)
    assert rights(operator) == {(name, verbs, only) for _, name, verbs, only in wanted}


def test_neither_an_upgrade_nor_the_way_back_touches_a_living_session(
    namespace: Namespace, operator: Namespace, session: dict[str, Any]
) -> None:
    def annotated() -> bool:
        found = operator.list("pods", "app.kubernetes.io/name=ringline-operator")
        notes = [pod["metadata"].get("annotations", {}) for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return any("upgraded" in each for each in notes)

    change("podAnnotations.upgraded=yes")
    operator.wait("an operator of the new release", annotated)
    (pod,) = namespace.list("pods", "ringline.dev/pipeline=voice")
    assert life(pod) == life(session)
    helm("rollback", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", "120s")
    operator.wait("that operator to go", lambda: not annotated())
    (pod,) = namespace.list("pods", "ringline.dev/pipeline=voice")
    assert life(pod) == life(session)


def test_after_leaving_all_sessions_run_on_and_coming_back_takes_them_over(
    namespace: Namespace, operator: Namespace, session: dict[str, Any], report: dict[str, Any]
) -> None:
    values = helm("get", "values", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--output", "yaml")
    helm("uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait")
    assert namespace.get("crd", "mediapipelines.ringline.dev") is not None
    assert namespace.get("mediapipeline", "voice") is not None
    assert operator.list("deployments") == []
    left = namespace.get("pod", session["metadata"]["name"])
    assert left is not None
    assert life(left) == life(session)
    install = ["install", RELEASE, str(CHART), "--namespace", OPERATOR_NAMESPACE, "--values", "-", "--wait"]
    begun = time.monotonic()
    subprocess.run(["helm", *install], input=values, text=True, capture_output=True, timeout=180, check=True)
    namespace.run("patch", "mediapipeline", "voice", "--type=merge", "--patch", '{"spec": {"replicas": 2}}')
    namespace.wait("a second session", lambda: len(namespace.list("pods", "ringline.dev/pipeline=voice")) == 2)
    report["helm install again to operator acting"] = round(time.monotonic() - begun, 2)
    again = namespace.get("pod", session["metadata"]["name"])
    assert again is not None
    assert life(again) == life(session)


def test_nothing_was_forbidden_to_the_operator(operator: Namespace, session: dict[str, Any]) -> None:
    assert session
    logs = operator.run("logs", "--selector", "app.kubernetes.io/name=ringline-operator", "--tail=-1")
    assert [line for line in logs.splitlines() if "orbidden" in line or " 403 " in line] == []
