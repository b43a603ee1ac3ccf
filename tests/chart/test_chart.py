"""The chart: what it renders, what it refuses, and that its generated parts are up to date."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ringline_operator.crd import write
from ringline_operator.settings import PREFIX, operator_settings
from tests.chart.helm import CHART, NAMESPACE, helm, needs, of, one, refusal, render
from tests.helpers.tree import ROOT, name_of

EVERYTHING = (
    "monitoring.serviceMonitor.enabled=true",
    "monitoring.podMonitor.enabled=true",
    "monitoring.prometheusRule.enabled=true",
    "monitoring.dashboards.enabled=true",
)


def operator(objects: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = one(objects, "Deployment")["spec"]["template"]["spec"]
    return found


def environment(objects: list[dict[str, Any]]) -> dict[str, str]:
    (container,) = operator(objects)["containers"]
    return {item["name"]: item["value"] for item in container["env"]}


def test_helm_has_no_complaint() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_unit_tests_of_the_templates_pass() -> None:
    done = subprocess.run([needs("helm-unittest"), str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("folder", [ROOT / "crds", CHART / "files" / "crds"], ids=name_of)
def test_the_resource_definitions_are_those_of_the_models(folder: Path, tmp_path: Path) -> None:
    write(tmp_path)
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert {path.name: path.read_text() for path in folder.iterdir()} == written, "run: python3 dev.py generate"


def test_the_resource_definitions_stay_when_the_release_goes() -> None:
    definitions = of(render(), "CustomResourceDefinition")
    assert len(definitions) == 2
    assert all(item["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for item in definitions)
    assert of(render("crds.install=false"), "CustomResourceDefinition") == []


def test_the_readme_is_the_one_of_the_values(tmp_path: Path) -> None:
    command = [needs("helm-docs"), "--dry-run", "--log-level", "error", "--chart-search-root", str(CHART)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (CHART / "README.md").read_text().strip(), "run: helm-docs in charts/ringline"


def test_the_operator_understands_every_variable_that_it_is_given() -> None:
    given = environment(render())
    settings = operator_settings(given)
    assert settings.lease_namespace == NAMESPACE
    assert settings.watched == ()
    wanted = {PREFIX + name.upper() for name in type(settings).model_fields} - {PREFIX + "IDENTITY"}
    assert {name for name in given if name.startswith(PREFIX)} == wanted


def test_the_defaults_of_the_chart_are_those_of_the_program() -> None:
    given, plain = operator_settings(environment(render())), operator_settings({})
    ours = {"identity", "image"}
    assert given.model_dump(exclude=ours) == plain.model_dump(exclude=ours)


def test_the_namespaces_reach_the_operator() -> None:
    objects = render("watch.cluster=false", "watch.namespaces={team-a,team-b}")
    assert operator_settings(environment(objects)).watched == ("team-a", "team-b")


def test_the_operators_pod_is_restricted() -> None:
    pod = operator(render())
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    confined = container["securityContext"]
    assert confined["readOnlyRootFilesystem"] is True
    assert confined["allowPrivilegeEscalation"] is False
    assert confined["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & set(pod)
    assert container["resources"]["limits"]["memory"]


def test_only_the_operators_pod_gets_a_token() -> None:
    objects = render()
    assert one(objects, "ServiceAccount")["automountServiceAccountToken"] is False
    assert operator(objects)["automountServiceAccountToken"] is True


def test_session_pods_know_the_operator_by_its_label() -> None:
    labels = one(render("fullnameOverride=other"), "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "ringline-operator"


def test_a_digest_wins_over_a_tag() -> None:
    digest = "sha256:" + "a" * 64
    (container,) = operator(render(f"image.digest={digest}", "image.tag=1.0"))["containers"]
    assert container["image"] == f"ringline/operator@{digest}"


def test_services_budgets_and_policies_select_the_operator() -> None:
    objects = render()
    labels = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        one(objects, "Service")["spec"]["selector"],
        one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)


def test_nothing_needs_foreign_resource_definitions_by_default() -> None:
    assert [item["kind"] for item in render() if "coreos" in item["apiVersion"]] == []


def test_monitoring_brings_monitors_alerts_and_dashboards() -> None:
    objects = render(*EVERYTHING)
    assert one(objects, "ServiceMonitor")["spec"]["endpoints"][0]["port"] == "metrics"
    assert one(objects, "PodMonitor")["spec"]["namespaceSelector"] == {"any": True}
    rules = yaml.safe_load((CHART / "alerts" / "ringline.rules.yaml").read_text())
    assert one(objects, "PrometheusRule")["spec"] == rules
    boards = {name: json.loads(text) for item in of(objects, "ConfigMap") for name, text in item["data"].items()}
    assert {board["uid"] for board in boards.values()} == {"ringline-fleet", "ringline-session"}


def test_only_watched_namespaces_are_scraped() -> None:
    objects = render(*EVERYTHING, "watch.cluster=false", "watch.namespaces={team-a}")
    assert one(objects, "PodMonitor")["spec"]["namespaceSelector"] == {"matchNames": ["team-a"]}


def test_every_object_has_a_namespace_or_belongs_to_the_cluster() -> None:
    wide = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
    objects = render(*EVERYTHING, "monitoring.dashboards.namespace=grafana")
    homeless = [item["kind"] for item in objects if "namespace" not in item["metadata"] and item["kind"] not in wide]
    assert homeless == []


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("replica=2", "replica"),
        ("replicas=two", "replicas"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("image.digest=sha256:abc", "digest"),
        ("watch.namespaces={Team_A}", "namespaces"),
        ("operator.workers=0", "workers"),
        ("operator.logFormat=xml", "logFormat"),
        ("monitoring.podMonitor.interval=often", "interval"),
        ("networkPolicy.apiServerPorts={}", "apiServerPorts"),
    ],
)
def test_a_value_that_means_nothing_is_refused_by_name(value: str, named: str) -> None:
    assert named in refusal(value)


def test_namespaces_beside_the_whole_cluster_are_a_contradiction() -> None:
    assert "namespaces" in refusal("watch.cluster=true", "watch.namespaces={team-a}")
