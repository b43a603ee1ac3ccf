"""The manifests of examples/kubernetes: what they ask of a machine stands in the session's pod, and nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ringline.graph.manifest import read_manifest
from ringline.graph.plan import plan
from ringline.graph.validate import validate
from ringline.settings import RuntimeConfig
from ringline_operator.specs.pod import PodIdentity, PodSettings, session_pod
from tests.helpers.tree import ROOT, name_of

FOLDER = ROOT / "examples" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))


def pod(file: str) -> dict[str, Any]:
    (pipeline,) = read_manifest(FOLDER / file)
    session = plan(pipeline, RuntimeConfig())
    return session_pod(pipeline, session, PodIdentity("s", "uid", 0), PodSettings("image"))


def container(body: dict[str, Any], node: str) -> dict[str, Any]:
    return next(item for item in body["spec"]["containers"] if item["name"] == f"node-{node}")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_manifest_has_no_problem_and_is_explained(path: Path) -> None:
    (pipeline,) = read_manifest(path)
    assert validate(pipeline) == []
    assert path.name in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_each_node_gets_its_own_gpu_and_the_gateway_none() -> None:
    body = pod("gpu.yaml")
    assert [container(body, node)["resources"]["limits"]["nvidia.com/gpu"] for node in ("asr", "tts")] == [1, 1]
    (gateway,) = body["spec"]["initContainers"]
    assert "nvidia.com/gpu" not in gateway["resources"]["limits"]
    assert gateway["image"] == "image"
    assert container(body, "asr")["image"] == "registry.example/my-models:1"


def test_the_pod_goes_where_gpus_are() -> None:
    spec = pod("gpu.yaml")["spec"]
    assert spec["runtimeClassName"] == "nvidia"
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert [item["key"] for item in spec["tolerations"]] == ["nvidia.com/gpu"]


def test_the_cache_is_mounted_by_the_node_that_says_so_only() -> None:
    body = pod("model-cache.yaml")
    volumes = {item["name"]: item for item in body["spec"]["volumes"]}
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == "models"
    mounts = {item["name"]: item["mountPath"] for item in container(body, "asr")["volumeMounts"]}
    assert mounts["models"] == "/models"
    (gateway,) = body["spec"]["initContainers"]
    assert "models" not in {item["name"] for item in gateway["volumeMounts"]}
    assert body["spec"]["securityContext"]["fsGroup"] == 10001


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_pods_stay_confined(path: Path) -> None:
    body = pod(path.name)
    for each in (*body["spec"]["initContainers"], *body["spec"]["containers"]):
        assert each["securityContext"]["allowPrivilegeEscalation"] is False
        assert each["securityContext"]["readOnlyRootFilesystem"] is True
    assert not any("hostPath" in volume for volume in body["spec"]["volumes"])
