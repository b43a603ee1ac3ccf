"""Every manifest of the examples applies to a cluster as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import ROOT
from tests.e2e.kubectl import Namespace
from tests.e2e.test_trouble import why


def is_manifest(path: Path) -> bool:
    return any(isinstance(item, dict) and "kind" in item for item in yaml.safe_load_all(path.read_text()))


MANIFESTS = [path for path in sorted((ROOT / "examples").glob("*/*.yaml")) if is_manifest(path)]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_manifest_of_the_examples_applies_as_it_is(namespace: Namespace, path: Path) -> None:
    answer = namespace.run("apply", "--dry-run=server", "--validate=strict", "-f", str(path))
    objects = [item for item in yaml.safe_load_all(path.read_text()) if item]
    assert answer.count("(server dry run)") == len(objects)


def test_a_session_that_wants_a_gpu_where_there_is_none_says_so(namespace: Namespace) -> None:
    path = ROOT / "examples" / "kubernetes" / "gpu.yaml"
    namespace.run("apply", "-f", str(path))
    said = namespace.wait(
        "the reason",
        lambda: found if "nvidia" in (found := why(namespace, "speech-on-gpu")).get("message", "") else None,
    )
    assert said["status"] == "False"
    namespace.run("delete", "-f", str(path))
