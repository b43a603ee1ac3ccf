"""Small graphs and a small catalog for the tests of the graph package."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from ringline.errors import ManifestError, Problem
from ringline.graph.manifest import parse_manifest, pipeline_from
from ringline.graph.model import MediaPipeline
from ringline.graph.validate import validate

CATALOG: dict[str, dict[str, Any]] = {
    "vad": {"inputs": {"audio": "audio"}, "outputs": {"speech": "audio", "events": "json"}, "config": None},
    "asr": {"inputs": {"audio": "audio"}, "outputs": {"text": "text"}, "aliases": ["recognizer"]},
    "tts": {"inputs": {"text": "text"}, "outputs": {"audio": "audio"}},
    "tone": {"inputs": {}, "outputs": {"audio": "audio"}, "source": True},
    "sink": {"inputs": {"audio": "audio"}, "outputs": {}},
    "mix": {"inputs": {"*": "audio"}, "outputs": {"audio": "audio"}},
    "tee": {"inputs": {"input": "any"}, "outputs": {"*": "any"}},
    "either": {"inputs": {"data": "audio|text"}, "outputs": {"data": "audio|text"}},
    "gain": {
        "inputs": {"audio": "audio"},
        "outputs": {"audio": "audio"},
        "config": {
            "type": "object",
            "additionalProperties": False,
            "required": ["gain"],
            "properties": {
                "gain": {"type": "number", "minimum": 0, "maximum": 10},
                "mode": {"enum": ["linear", "db"]},
                "steps": {"type": "array", "items": {"type": "integer", "exclusiveMinimum": 0}},
                "label": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 8},
            },
        },
    },
}

HEADER = "apiVersion: ringline.dev/v1alpha1\nkind: MediaPipeline\nmetadata: {name: p}\n"


def resource(**spec: Any) -> dict[str, Any]:
    """A manifest's mapping."""
    header = {"apiVersion": "ringline.dev/v1alpha1", "kind": "MediaPipeline", "metadata": {"name": "p"}}
    return header | {"spec": spec}


def node(name: str, type_name: str = "thing", **fields: Any) -> dict[str, Any]:
    return {"name": name, "type": type_name} | fields


def edge(from_: str, to: str, **fields: Any) -> dict[str, Any]:
    return {"from": from_, "to": to} | fields


def chain(*names: str) -> dict[str, Any]:
    """Nodes of an undeclared type, joined one after the other."""
    joins = [edge(f"{a}.output", f"{b}.input") for a, b in pairwise(names)]
    return {"nodes": [node(name) for name in names], "channels": joins}


def read(**spec: Any) -> MediaPipeline:
    return pipeline_from(resource(**spec))


def problems_of(**spec: Any) -> list[Problem]:
    """All problems of a spec: of its values, or of its graph."""
    try:
        return validate(read(**spec), CATALOG)
    except ManifestError as error:
        return list(error.problems)


def texts_of(**spec: Any) -> list[str]:
    return [str(problem) for problem in problems_of(**spec)]


def refused(text: str | bytes, file: str = "") -> list[str]:
    """What a manifest's text is refused for, one line each."""
    try:
        parse_manifest(text, file)
    except ManifestError as error:
        return str(error).split("\n")
    return []
