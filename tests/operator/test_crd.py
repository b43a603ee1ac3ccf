"""The definitions: structural, bounded, described, up to date, and able to refuse what a schema can say."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from ringline_operator.crd import crds, structural
from tests.helpers.tree import ROOT
from tests.operator.manifests import CHANNELS, NODES, body

DEFINITIONS = crds()
PIPELINES = DEFINITIONS["mediapipelines.yaml"]
SESSIONS = DEFINITIONS["mediasessions.yaml"]
LARGEST = 256 << 10


def schema(definition: dict[str, Any]) -> dict[str, Any]:
    return definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]  # type: ignore[no-any-return]


def parts(node: dict[str, Any], place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below `node` with its path."""
    yield place, node
    for name, child in node.get("properties", {}).items():
        yield from parts(child, f"{place}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(node.get(name), dict):
            yield from parts(node[name], f"{place}[]")


ALL = [(kind, place, part) for kind, found in DEFINITIONS.items() for place, part in parts(schema(found))]


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
def test_the_repositorys_copies_are_up_to_date(name: str) -> None:
    for folder in (ROOT / "crds", ROOT / "charts" / "ringline" / "files" / "crds"):
        assert yaml.safe_load((folder / name).read_text()) == DEFINITIONS[name], "run `make generate`"


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
def test_a_definition_is_small_enough_for_an_annotation(name: str) -> None:
    assert len((ROOT / "crds" / name).read_bytes()) < LARGEST


def test_schemas_are_structural() -> None:
    forbidden = {"$ref", "$defs", "title", "anyOf", "oneOf", "allOf", "const", "examples", "deprecated"}
    for kind, place, part in ALL:
        assert not forbidden & set(part), (kind, place)
        assert "type" in part or "x-kubernetes-int-or-string" in part, (kind, place)
        assert part.get("type") != "null", (kind, place)


def test_every_list_and_string_of_a_pipeline_is_bounded() -> None:
    for place, part in parts(schema(PIPELINES)["properties"]["spec"], "spec"):
        if part.get("type") == "array":
            assert "maxItems" in part, place
        if part.get("type") == "string":
            assert {"maxLength", "enum", "format"} & set(part), place


def test_every_list_says_how_it_is_merged() -> None:
    for kind, place, part in ALL:
        if part.get("type") == "array":
            assert part["x-kubernetes-list-type"] in {"map", "atomic"}, (kind, place)
        if part.get("x-kubernetes-list-type") == "map":
            (key,) = part["x-kubernetes-list-map-keys"]
            assert key in part["items"]["required"], (kind, place)


def test_nodes_inputs_and_outputs_are_merged_by_name() -> None:
    spec = schema(PIPELINES)["properties"]["spec"]["properties"]
    for name in ("nodes", "inputs", "outputs"):
        assert spec[name]["x-kubernetes-list-map-keys"] == ["name"]


@pytest.mark.parametrize("definition", [PIPELINES, SESSIONS])
def test_the_status_is_a_subresource_with_conditions(definition: dict[str, Any]) -> None:
    version = definition["spec"]["versions"][0]
    assert "status" in version["subresources"]
    conditions = schema(definition)["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def test_a_pipeline_can_be_scaled() -> None:
    scale = PIPELINES["spec"]["versions"][0]["subresources"]["scale"]
    assert scale["specReplicasPath"] == ".spec.replicas"
    assert scale["labelSelectorPath"] == ".status.selector"


def test_names_for_people_are_short() -> None:
    assert PIPELINES["spec"]["names"]["shortNames"] == ["mp"]
    assert SESSIONS["spec"]["names"]["shortNames"] == ["ms"]
    for definition in (PIPELINES, SESSIONS):
        assert definition["spec"]["names"]["categories"] == ["ringline"]
        columns = definition["spec"]["versions"][0]["additionalPrinterColumns"]
        assert all(column["description"] for column in columns)


def test_the_definitions_stay_when_the_chart_goes() -> None:
    for definition in DEFINITIONS.values():
        assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_fields_that_people_set_are_explained() -> None:
    spec = schema(PIPELINES)["properties"]["spec"]["properties"]
    for section in ("runtime", "session"):
        for name, part in spec[section]["properties"].items():
            assert part.get("description"), f"{section}.{name}"
    for name, part in schema(SESSIONS)["properties"]["status"]["properties"].items():
        assert part.get("description"), name


def test_defaults_are_those_of_the_models() -> None:
    spec = schema(PIPELINES)["properties"]["spec"]["properties"]
    assert spec["replicas"]["default"] == 1
    assert spec["session"]["properties"]["restartPolicy"]["default"] == "OnFailure"
    assert "default" not in spec["runtime"]["properties"]["stallTimeoutSeconds"], "absent means something of its own"


# What the schema alone refuses. JSON schema knows neither CEL nor pruning, so unknown fields are not among these.

ENV = {"name": "A", "value": "b"}
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("replicas below zero", {"replicas": -1}),
    ("replicas as a boolean", {"replicas": True}),
    ("replicas as a text", {"replicas": "1"}),
    ("too many replicas", {"replicas": 1001}),
    ("suspend as a text", {"suspend": "yes"}),
    ("an unknown update strategy", {"updateStrategy": {"type": "Later"}}),
    ("no nodes", {"nodes": []}),
    ("33 nodes", {"nodes": [{"name": f"n{i}", "type": "gain"} for i in range(33)]}),
    ("a node without a type", {"nodes": [{"name": "a"}]}),
    ("a node without a name", {"nodes": [{"type": "gain"}]}),
    ("an upper-case name", {"nodes": [NODES[0] | {"name": "Vad"}]}),
    ("a name of 64 characters", {"nodes": [NODES[0] | {"name": "a" * 64}]}),
    ("a name with a dot", {"nodes": [NODES[0] | {"name": "../vad"}]}),
    ("a name with a line feed", {"nodes": [NODES[0] | {"name": "vad\nx"}]}),
    ("a name with a semicolon", {"nodes": [NODES[0] | {"name": "vad;rm"}]}),
    ("a name with an invisible character", {"nodes": [NODES[0] | {"name": "va\u200bd"}]}),
    ("a null config", {"nodes": [NODES[0] | {"config": None}]}),
    ("an unknown executor", {"nodes": [NODES[0] | {"executor": "Thread"}]}),
    ("an environment name with a blank", {"nodes": [NODES[0] | {"env": [ENV | {"name": "A B"}]}]}),
    ("65 environment variables", {"nodes": [NODES[0] | {"env": [ENV] * 65}]}),
    ("capacity 0", {"channels": [CHANNELS[0] | {"capacity": 0}]}),
    ("capacity -1", {"channels": [CHANNELS[0] | {"capacity": -1}]}),
    ("capacity 2^31", {"channels": [CHANNELS[0] | {"capacity": 2**31}]}),
    ("an unknown overflow", {"channels": [CHANNELS[0] | {"overflow": "Panic"}]}),
    ("a deadline of 0", {"channels": [CHANNELS[0] | {"deadlineMilliseconds": 0}]}),
    ("a channel without an end", {"channels": [{"from": "vad.speech"}]}),
    ("an end without a port", {"channels": [CHANNELS[0] | {"to": "meter"}]}),
    ("65 channels", {"channels": CHANNELS * 65}),
    ("an unknown crash policy", {"session": {"onNodeCrash": "Panic"}}),
    ("an unknown restart policy", {"session": {"restartPolicy": "Sometimes"}}),
    ("restarts below zero", {"session": {"maxRestarts": -1}}),
    ("an empty restart window", {"session": {"restartWindowSeconds": 0}}),
    ("a channel capacity of 5000", {"runtime": {"channelCapacity": 5000}}),
    ("no time to start", {"runtime": {"initTimeoutSeconds": 0}}),
    ("a priority class with a blank", {"pod": {"priorityClassName": "very high"}}),
    ("an unknown toleration", {"pod": {"tolerations": [{"operator": "Maybe"}]}}),
]


def verdict(spec: dict[str, Any]) -> list[str]:
    found = body()
    found["spec"] = {**found["spec"], **spec}
    checked = copy.deepcopy(schema(PIPELINES))
    return [error.message for error in jsonschema.Draft7Validator(checked).iter_errors(found)]


def test_a_good_pipeline_passes() -> None:
    assert verdict({}) == []


@pytest.mark.parametrize(("what", "spec"), REFUSED, ids=[what for what, _ in REFUSED])
def test_the_schema_refuses(what: str, spec: dict[str, Any]) -> None:
    assert verdict(spec), what


def rules(definition: dict[str, Any]) -> list[str]:
    return [rule["rule"] for _, part in parts(schema(definition)) for rule in part.get("x-kubernetes-validations", ())]


def test_what_a_schema_can_not_say_is_said_in_cel() -> None:
    found = " ; ".join(rules(PIPELINES))
    for words in ("size(self.metadata.name) <= 40", "tokenSecretRef", "self.from != self.to", "deadlineMilliseconds"):
        assert words in found


def test_a_sessions_spec_can_not_be_changed() -> None:
    assert any("oldSelf" in rule for rule in rules(SESSIONS))


def test_every_rule_says_what_to_do() -> None:
    for _, _, part in ALL:
        for rule in part.get("x-kubernetes-validations", ()):
            assert len(rule["message"]) > 20


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "integer", "title": "X"}, {"type": "integer"}),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None}, {"type": "integer", "minimum": 1}),
        ({"const": "a", "type": "string"}, {"type": "string", "enum": ["a"]}),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, {"x-kubernetes-int-or-string": True}),
        ({"$ref": "#/$defs/A", "description": "d"}, {"type": "boolean", "description": "d"}),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 2}, {"type": "array", "items": {"type": "integer"}, "maxItems": 2, "x-kubernetes-list-type": "atomic"}),
    ],
)  # fmt: skip
def test_json_schema_becomes_structural(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert structural(given, {"A": {"type": "boolean", "title": "A"}}) == expected
