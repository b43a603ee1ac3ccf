"""The workflows: every foreign action by its commit, no right that a job does not need, the promised versions."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, needs
from tests.helpers.tree import ROOT, name_of

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yaml"))
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def workflow(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return found


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_action_is_pinned_by_its_commit_and_says_its_version(path: Path) -> None:
    loose = [line.strip() for line in path.read_text().splitlines() if "uses:" in line and not PINNED.search(line)]
    assert loose == []


def test_one_action_has_one_commit() -> None:
    pins = {pin for path in FILES for pin in re.findall(r"uses: (\S+)@([0-9a-f]{40})", path.read_text())}
    assert len({action for action, _ in pins}) == len(pins)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_job_has_no_right_that_it_does_not_name(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {}
    assert all("permissions" in job for job in jobs(path).values())


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_job_ends_by_itself(path: Path) -> None:
    assert [name for name, job in jobs(path).items() if "timeout-minutes" not in job] == []


def test_the_checkout_leaves_no_credentials() -> None:
    steps = [step for path in FILES for job in jobs(path).values() for step in job["steps"]]
    checkouts = [step for step in steps if "actions/checkout@" in step.get("uses", "")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_the_tests_run_on_every_python_that_is_promised() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = workflow("checks")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert versions[0] == project["requires-python"].removeprefix(">=")
    assert versions == ["3.11", "3.12", "3.13"]


def test_the_cluster_tests_run_on_three_minors_that_the_chart_accepts() -> None:
    nodes = workflow("cluster")["jobs"]["e2e"]["strategy"]["matrix"]["node"]
    assert all(re.fullmatch(r"kindest/node:v1\.\d+\.\d+@sha256:[0-9a-f]{64}", node) for node in nodes)
    minors = {int(node.split(".")[1]) for node in nodes}
    oldest = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
    assert len(minors) == 3
    assert min(minors) >= int(oldest.split(".")[1])


def test_images_are_released_with_a_bill_of_materials() -> None:
    steps = workflow("release")["jobs"]["images"]["steps"]
    (build,) = [step["with"] for step in steps if "build-push-action" in step.get("uses", "")]
    assert build["sbom"] is True
    assert build["provenance"] == "mode=max"
    assert build["build-args"].startswith("BASE=")
    assert set(build["platforms"].split(",")) == {"linux/amd64", "linux/arm64"}


def test_every_file_that_a_workflow_names_exists() -> None:
    text = "\n".join(path.read_text() for path in FILES)
    named = set(re.findall(r"\b(?:operator|node_runtime|charts|tests)/[\w/]*\w(?:\.\w+)?", text)) | {"kind-config.yaml"}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_cluster_of_a_laptop_has_a_machine_to_lose() -> None:
    config = yaml.safe_load((ROOT / "kind-config.yaml").read_text())
    assert [node["role"] for node in config["nodes"]] == ["control-plane", "worker"]


@pytest.mark.parametrize("command", [["actionlint"], ["zizmor", "--offline"]], ids=lambda command: command[0])
def test_a_checker_of_workflows_has_no_complaint(command: list[str]) -> None:
    files = [str(path) for path in FILES]
    run = [needs(command[0]), *command[1:], *files]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
