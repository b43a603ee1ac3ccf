"""What the end-to-end tests stand on: a cluster by KUBECONFIG, the chart installed once, a namespace for each module.

Images are named by RINGLINE_IMAGE and RINGLINE_OPERATOR_IMAGE and must be loaded in the cluster. Times are collected and
written as JSON to the file that RINGLINE_E2E_REPORT names, with how long each test took; no test asserts one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.kubectl import Namespace

ROOT = Path(__file__).resolve().parents[2]
OPERATOR_NAMESPACE = "ringline-system"
RELEASE = "ringline"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a cluster there is nothing to do here."""
    missing = next((name for name in ("kubectl", "helm") if shutil.which(name) is None), None)
    reason = ""
    if not os.environ.get("KUBECONFIG"):
        reason = "no cluster: set KUBECONFIG, and see CONTRIBUTING.md for the images"
    elif missing:
        reason = f"{missing} is not installed"
    if reason:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=reason))


FIGURES: dict[str, Any] = {}
TESTS: dict[str, float] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up how long a test and what it stands on took."""
    if report.nodeid.startswith("tests/e2e/") and not report.skipped:
        name = report.nodeid.removeprefix("tests/e2e/").replace("::", ": ")
        TESTS[name] = round(TESTS.get(name, 0.0) + report.duration, 2)


def pytest_sessionfinish() -> None:
    """Write what was measured, and show it: a build machine keeps only what was printed."""
    if not FIGURES:
        return
    document = {"figures": FIGURES, "tests": TESTS, "seconds in all": round(sum(TESTS.values()), 1)}
    text = json.dumps(document, indent=1, sort_keys=True)
    print(f"\n{text}")
    if target := os.environ.get("RINGLINE_E2E_REPORT"):
        Path(target).write_text(text + "\n")


@pytest.fixture(scope="session")
def report() -> dict[str, Any]:
    """Figures by name, in seconds unless the name says otherwise."""
    return FIGURES


def image_values(prefix: str, image: str) -> list[str]:
    repository, _, tag = image.rpartition(":")
    return ["--set", f"{prefix}.repository={repository}", "--set", f"{prefix}.tag={tag}"]


@pytest.fixture(scope="session")
def operator(report: dict[str, Any]) -> Iterator[Namespace]:
    """The chart, installed; yields the operator's namespace."""
    images = {
        "image": os.environ.get("RINGLINE_OPERATOR_IMAGE", "ringline/operator:dev"),
        "nodeImage": os.environ.get("RINGLINE_IMAGE", "ringline/node-runtime:dev"),
    }
    values = [argument for prefix, image in images.items() for argument in image_values(prefix, image)]
    chart = str(ROOT / "charts" / "ringline")
    begun = time.monotonic()
    command = ["helm", "upgrade", "--install", RELEASE, chart, "--namespace", OPERATOR_NAMESPACE, "--create-namespace"]
    # The definitions may be there already, from another release or from kubectl: it is the tests' cluster.
    options = ["--take-ownership", "--wait", "--timeout", "120s"]
    subprocess.run([*command, *values, *options], check=True, timeout=180)
    report["helm install to operator ready"] = round(time.monotonic() - begun, 2)
    yield Namespace(OPERATOR_NAMESPACE)
    if not os.environ.get("RINGLINE_E2E_KEEP"):
        subprocess.run(
            ["helm", "uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait"], check=True, timeout=120
        )


@pytest.fixture(scope="module")
def namespace(operator: Namespace, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A namespace of its own, in which Pod Security enforces `restricted`."""
    assert operator.name
    name = "e2e-" + request.module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", "-")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    cluster = Namespace("default")
    cluster.apply(body)
    yield Namespace(name)
    if not os.environ.get("RINGLINE_E2E_KEEP"):
        cluster.run("delete", "namespace", name, "--wait=true", timeout_s=180)


@pytest.fixture(scope="session")
def voice() -> dict[str, Any]:
    """The voice example as it is shipped."""
    return dict(yaml.safe_load((ROOT / "examples" / "voice" / "pipeline.yaml").read_text()))
