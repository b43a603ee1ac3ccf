"""The CustomResourceDefinitions, made from the same models that read a manifest.

``python -m ringline_operator.crd FOLDER`` writes them; a test fails when the repository's copies differ. The JSON
schemas of pydantic are turned into what an API server calls structural: no references, no titles, no null, list types.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from ringline.graph.model import MediaPipeline
from ringline.graph.resources import MediaPipelineStatus, MediaSession
from ringline.names import API_VERSION

GROUP, VERSION = API_VERSION.split("/")
LIST_KEYS: Final = {
    "nodes": "name", "inputs": "name", "outputs": "name", "env": "name", "volumes": "name", "conditions": "type",
}  # fmt: skip
"""Lists whose items have a key: server-side apply merges them item by item."""
KEPT: Final = (
    "type", "description", "enum", "format", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems",
    "maxItems", "maxProperties", "required", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields",
)  # fmt: skip
LARGEST_STRING: Final = 4096
"""Bound of strings without one of their own, so that CEL rules have a finite cost."""


def crds() -> dict[str, dict[str, Any]]:
    """Return both definitions by file name."""
    return {"mediapipelines.yaml": _pipelines(), "mediasessions.yaml": _sessions()}


def structural(schema: Mapping[str, Any], definitions: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """Turn one JSON schema into a structural one; `name` is the property under which it stands."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        own = {key: value for key, value in schema.items() if key != "$ref"}
        return structural({**target, **own}, definitions, name)
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        outer = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
        return structural({**options[0], **outer}, definitions, name)
    result = {key: schema[key] for key in KEPT if key in schema}
    if "const" in schema:
        result["enum"] = [schema["const"]]
    if options and "x-kubernetes-int-or-string" not in schema:
        result = {"x-kubernetes-int-or-string": True} | {k: v for k, v in result.items() if k == "description"}
    if "exclusiveMinimum" in schema:
        result |= {"minimum": schema["exclusiveMinimum"], "exclusiveMinimum": True}
    if schema.get("default") is not None:
        result["default"] = schema["default"]
    return _children(result, schema, definitions, name)


def _children(
    result: dict[str, Any], schema: Mapping[str, Any], definitions: Mapping[str, Any], name: str
) -> dict[str, Any]:
    if "properties" in schema:
        result["properties"] = {key: structural(value, definitions, key) for key, value in schema["properties"].items()}
    elif isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = structural(schema["additionalProperties"], definitions)
    if "items" in schema:
        result["items"] = structural(schema["items"], definitions)
        if name in LIST_KEYS and LIST_KEYS[name] in result["items"].get("properties", {}):
            result |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [LIST_KEYS[name]]}
        else:
            result["x-kubernetes-list-type"] = "atomic"
    if result.get("type") == "string" and not {"enum", "format", "maxLength"} & set(result):
        result["maxLength"] = LARGEST_STRING
    return result


def _schema(model: type[Any]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True)
    return structural(schema, schema.get("$defs", {}))


def _rule(rule: str, message: str) -> dict[str, str]:
    return {"rule": rule, "message": message}


def _pipelines() -> dict[str, Any]:
    spec = _schema(MediaPipeline)["properties"]["spec"]
    _pipeline_rules(spec)
    columns = [
        ("Ready", "integer", ".status.readyReplicas", "Sessions ready to be claimed."),
        ("Wanted", "integer", ".spec.replicas", "Sessions asked for."),
        ("Claimed", "integer", ".status.claimedSessions", "Sessions in use."),
        ("Accepted", "string", ".status.conditions[?(@.type=='Accepted')].status", "Whether the graph is valid."),
        ("Age", "date", ".metadata.creationTimestamp", "Since when it exists."),
    ]
    schema = {"spec": spec, "status": _schema(MediaPipelineStatus)}
    rules = [
        _rule(
            "size(self.metadata.name) <= 40", "metadata.name must have at most 40 characters: pods are named after it"
        )
    ]
    definition = _definition("MediaPipeline", "mediapipelines", "mp", parts=schema, columns=columns, rules=rules)
    definition["spec"]["versions"][0]["subresources"]["scale"] = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    return definition


def _pipeline_rules(spec: dict[str, Any]) -> None:
    fields = spec["properties"]
    spec["required"] = ["nodes"]
    fields["nodes"]["minItems"] = 1
    fields["nodes"].pop("default", None)
    fields["ingress"]["x-kubernetes-validations"] = [
        _rule(
            "!self.enabled || has(self.tokenSecretRef)",
            "ingress.enabled needs tokenSecretRef: a Secret with the bearer token",
        )
    ]
    channels = fields["channels"]["items"]
    channels["x-kubernetes-validations"] = [
        _rule("self.from != self.to", "a channel can't lead from a port to itself"),
        _rule(
            "!has(self.overflow) || self.overflow != 'Deadline' || has(self.deadlineMilliseconds)",
            "overflow Deadline needs deadlineMilliseconds",
        ),
    ]


def _sessions() -> dict[str, Any]:
    schema = _schema(MediaSession)["properties"]
    spec = schema["spec"]
    spec["x-kubernetes-validations"] = [
        _rule("self == oldSelf", "a session's spec can't be changed; delete it and make another")
    ]
    columns = [
        ("Phase", "string", ".status.phase", "Where in its life it is."),
        ("Pipeline", "string", ".spec.pipelineRef.name", "Whose graph it runs."),
        ("Pod", "string", ".status.podName", "The pod of the present attempt."),
        ("Reason", "string", ".status.conditions[?(@.type=='Ready')].reason", "Why it is as it is."),
        ("Age", "date", ".metadata.creationTimestamp", "Since when it exists."),
    ]
    rules = [
        _rule(
            "size(self.metadata.name) <= 56", "metadata.name must have at most 56 characters: pods are named after it"
        )
    ]
    parts = {"spec": spec, "status": schema["status"]}
    return _definition("MediaSession", "mediasessions", "ms", parts=parts, columns=columns, rules=rules)


def _definition(
    kind: str,
    plural: str,
    short: str,
    *,
    parts: Mapping[str, Any],
    columns: list[tuple[str, str, str, str]],
    rules: list[dict[str, str]],
) -> dict[str, Any]:
    parts["status"].pop("default", None)
    schema = {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            **parts,
        },
        "x-kubernetes-validations": rules,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}", "annotations": {"helm.sh/resource-policy": "keep"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["ringline"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": type_, "jsonPath": path, "description": text}
                        for name, type_, path, text in columns
                    ],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def write(folder: Path) -> None:
    """Write both files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, definition in crds().items():
        text = yaml.safe_dump(definition, sort_keys=False, width=120, allow_unicode=True)
        (folder / name).write_text(f"# Generated from the models by `make generate`; do not edit.\n{text}")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "crds"))
