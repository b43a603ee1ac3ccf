"""What is left of a resource when parts of it are refused, and with which places."""

from __future__ import annotations

from typing import Any

import pytest

from ringline.graph.draft import Draft, draft_of, fields_of
from ringline.graph.model import MediaPipeline
from tests.unit.graph.graphs import edge, node, resource


def drafted(**spec: Any) -> tuple[Draft, list[str]]:
    draft, problems = draft_of(resource(**spec))
    assert draft is not None
    return draft, [problem.place for problem in problems]


def test_a_sound_resource_is_taken_whole() -> None:
    draft, places = drafted(nodes=[node("a"), node("b")], channels=[edge("a.x", "b.y")])
    assert places == []
    assert draft.complete
    assert [place for place, _ in draft.nodes] == ["spec.nodes[0]", "spec.nodes[1]"]
    assert [place for place, _ in draft.flows()] == ["spec.channels[0]"]


def test_a_bad_optional_field_costs_only_itself() -> None:
    draft, places = drafted(nodes=[node("a", executor="thread", config={"x": 1})], replicas="many")
    assert places == ["spec.replicas", "spec.nodes[0].executor"]
    assert draft.nodes[0][1].config == {"x": 1}
    assert draft.nodes[0][1].executor == "Process"
    assert draft.pipeline.spec.replicas == 1
    assert not draft.complete


def test_a_bad_name_costs_its_element_and_leaves_its_ghost() -> None:
    draft, places = drafted(nodes=[node("A"), node("b")], channels=[edge("b.x", "b"), edge("b.x", "b.y")])
    assert places == ["spec.nodes[0].name", "spec.channels[0].to"]
    assert [(place, found.name) for place, found in draft.nodes] == [("spec.nodes[1]", "b")]
    assert [place for place, _ in draft.channels] == ["spec.channels[1]"]
    assert draft.ghosts == {"A"}


def test_more_than_32_nodes_leave_the_rest_as_ghosts() -> None:
    draft, places = drafted(nodes=[node(f"n{i}") for i in range(40)])
    assert places == ["spec.nodes"]
    assert len(draft.nodes) == 32
    assert draft.ghosts == {f"n{i}" for i in range(32, 40)}


def test_nulls_are_reported_where_they_stand_and_left_out() -> None:
    draft, places = drafted(nodes=[node("a", config=None), None], session=None, pod={"affinity": {"x": None}})
    assert places == [
        "spec.nodes[0].config",
        "spec.nodes[1]",
        "spec.session",
        "spec.nodes[1].name",
        "spec.nodes[1].type",
    ]
    assert draft.pipeline.spec.pod.affinity == {"x": None}
    assert len(draft.nodes) == 1


@pytest.mark.parametrize("spec", [None, 3, [], {"nodes": 3}, {"nodes": None}, {"nodes": {"a": 1}}])
def test_without_nodes_nothing_more_is_said(spec: Any) -> None:
    draft, problems = draft_of(resource() | {"spec": spec})
    assert draft is None
    assert len(problems) == 1


def test_a_wrong_header_does_not_stop_the_reading() -> None:
    draft, problems = draft_of({"apiVersion": "v2", "metadata": {"name": "X"}, "spec": {"nodes": [node("a")]}})
    assert [problem.place for problem in problems] == ["apiVersion", "kind", "metadata.name"]
    assert draft is not None
    assert draft.pipeline.metadata.name == "pipeline"


def test_the_fields_of_any_place_are_known() -> None:
    assert fields_of(MediaPipeline, ("metadata",)) == ["name", "namespace", "labels", "annotations"]
    assert "secretKeyRef" in fields_of(MediaPipeline, ("spec", "nodes", 0, "env", 3, "valueFrom"))
    assert fields_of(MediaPipeline, ("spec", "nodes", 0, "config", "anything")) == []
    assert fields_of(MediaPipeline, ("spec", "nowhere")) == []


def test_every_part_of_a_pod_that_is_open_survives_a_round_trip() -> None:
    pod = {
        "codeConfigMapRef": {"name": "code"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 30}],
        "affinity": {"nodeAffinity": {"x": [1]}},
        "topologySpreadConstraints": [{"maxSkew": 1}],
        "priorityClassName": "high",
        "runtimeClassName": "gvisor",
        "schedulerName": "other",
        "imagePullSecrets": [{"name": "pull"}],
        "volumes": [
            {"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
            {"name": "words", "configMap": {"name": "words", "items": [{"key": "a", "path": "dir/a"}]}},
            {"name": "keys", "secret": {"secretName": "keys"}},
            {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
        ],
        "resources": {"limits": {"memory": "2Gi", "cpu": 2}},
    }
    mounts = [{"name": "models", "mountPath": "/models", "subPath": "en", "readOnly": True}]
    spec = {"nodes": [node("a", volumeMounts=mounts, imagePullPolicy="Always")], "pod": pod}
    spec |= {"ingress": {"enabled": True, "tokenSecretRef": {"name": "t", "key": "token"}}}
    draft, places = drafted(**spec)
    assert places == []
    assert draft.pipeline.to_manifest()["spec"] == spec
