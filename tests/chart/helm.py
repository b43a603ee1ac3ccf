"""Helm, as the tests of the chart call it, and the objects that it renders. Skips a test that needs a program not here."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import yaml

from tests.helpers.tree import ROOT

CHART = ROOT / "charts" / "ringline"
NAMESPACE = "ringline-system"
Grant = tuple[str, str, frozenset[str], frozenset[str]]
"""Scope, resource with its group, verbs, names (empty = any)."""


def needs(program: str) -> str:
    """Return the program's path, or skip the test."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed; docs/kubernetes.md and the workflows use it")
    return path


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm; the caller looks at its exit code."""
    return subprocess.run([needs("helm"), *arguments], capture_output=True, text=True, check=False)


def sets(values: Iterable[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def render(*values: str, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
    """Return the objects of a release called `ringline` with these values."""
    done = helm("template", "ringline", str(CHART), "--namespace", namespace, *sets(values))
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def refusal(*values: str) -> str:
    """Return what helm says to values that it does not take."""
    done = helm("template", "ringline", str(CHART), *sets(values))
    assert done.returncode != 0, f"accepted: {values}"
    return done.stderr


def of(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item for item in objects if item["kind"] == kind]


def one(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = of(objects, kind)
    return found


def grants(objects: list[dict[str, Any]]) -> Iterator[Grant]:
    """Yield every right of every role, one resource each; the scope is a namespace, or `cluster`."""
    for role in (*of(objects, "Role"), *of(objects, "ClusterRole")):
        scope = role["metadata"].get("namespace", "cluster")
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    kind, _, sub = resource.partition("/")
                    name = f"{kind}.{group}" if group else kind
                    full = f"{name}/{sub}" if sub else name
                    yield scope, full, frozenset(rule["verbs"]), frozenset(rule.get("resourceNames", ()))
