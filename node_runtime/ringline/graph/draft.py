"""A resource as far as it can be understood, so that one bad field does not hide the other problems of a file.

`draft_of` takes the plain mapping of a manifest. What a model refuses becomes a problem and is left out; the checks in
`validate` then run on the rest, with the places of the original. A node that was left out leaves its name behind, so
that channels to it are not reported as dangling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from ringline.errors import Problem
from ringline.graph.model import ChannelSpec, FlowSpec, InputSpec, MediaPipeline, NodeSpec, OutputSpec
from ringline.graph.pod import CONFINED
from ringline.graph.source import place_of
from ringline.names import API_VERSION
from ringline.wording import hint, sentence, shown

Loc = tuple[str | int, ...]
_LISTS: Final = ("nodes", "channels", "inputs", "outputs")
_NEEDED: Final = {
    "nodes": {"name", "type"},
    "channels": {"from", "to"},
    "inputs": {"name", "to"},
    "outputs": {"name", "from"},
}
NULL: Final = "is null; give it a value or leave the field out"
_FREE: Final = frozenset({"config", "affinity", "status", "topologySpreadConstraints"})
"""Fields whose inside is the author's own: nulls and names are not ours to judge."""


@dataclass(frozen=True)
class Draft:
    """The understood part of a resource: its elements with their places, and the names of nodes that were left out."""

    pipeline: MediaPipeline
    nodes: Sequence[tuple[str, NodeSpec]]
    channels: Sequence[tuple[str, ChannelSpec]]
    inputs: Sequence[tuple[str, InputSpec]]
    outputs: Sequence[tuple[str, OutputSpec]]
    ghosts: frozenset[str] = frozenset()
    complete: bool = True

    def flows(self) -> Iterator[tuple[str, FlowSpec]]:
        """Channels, inputs and outputs with their places."""
        yield from self.channels
        yield from self.inputs
        yield from self.outputs


def whole(pipeline: MediaPipeline) -> Draft:
    """Wrap a resource that its models accepted."""
    return _draft(
        pipeline, {name: list(range(len(getattr(pipeline.spec, name)))) for name in _LISTS}, frozenset(), complete=True
    )


def draft_of(manifest: Mapping[str, Any]) -> tuple[Draft | None, list[Problem]]:
    """Read a plain mapping: the draft (None if nothing could be understood) and the problems of single values."""
    nulls = {place_of(loc): Problem(place_of(loc), NULL) for loc in _nulls(manifest)}
    problems = [*_header(manifest), *nulls.values()]
    cleaned = _without_nulls(manifest) | {"apiVersion": API_VERSION, "kind": "MediaPipeline"}
    try:
        draft = whole(MediaPipeline.model_validate(cleaned))
    except ValidationError as error:
        entries = error.errors()
    else:
        return (None if "spec.nodes" in nulls else draft), problems
    problems += [found for found in map(_problem, entries) if found.place not in nulls]
    if any(entry["loc"] in (("spec",), ("spec", "nodes")) and entry["type"] != "too_long" for entry in entries):
        return None, problems  # without nodes, everything else would look wrong
    pruned, kept, ghosts = _prune(cleaned, [entry["loc"] for entry in entries])
    try:
        return _draft(MediaPipeline.model_validate(pruned), kept, ghosts, complete=False), problems
    except ValidationError:
        return None, problems


def _draft(
    pipeline: MediaPipeline, kept: Mapping[str, Sequence[int]], ghosts: frozenset[str], *, complete: bool
) -> Draft:
    spec = pipeline.spec
    places = {name: [f"spec.{name}[{index}]" for index in kept[name]] for name in _LISTS}
    return Draft(
        pipeline,
        list(zip(places["nodes"], spec.nodes, strict=True)),
        list(zip(places["channels"], spec.channels, strict=True)),
        list(zip(places["inputs"], spec.inputs, strict=True)),
        list(zip(places["outputs"], spec.outputs, strict=True)),
        ghosts,
        complete,
    )


def _header(manifest: Mapping[str, Any]) -> Iterator[Problem]:
    for field, expected in (("apiVersion", API_VERSION), ("kind", "MediaPipeline")):
        if field not in manifest:
            yield Problem(field, f"is missing; write {field}: {expected}")
        elif manifest[field] != expected:
            yield Problem(field, f"must be {expected}, not {shown(manifest[field])}")


def _nulls(value: Any, loc: Loc = ()) -> Iterator[Loc]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if item is None:
            yield (*loc, key)
        elif key not in _FREE:
            yield from _nulls(item, (*loc, key))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: item if key in _FREE else _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        # An empty mapping keeps the place of the next entries; it is incomplete, hence left out below.
        return [{} if item is None else _without_nulls(item) for item in value]
    return value


def _problem(entry: Mapping[str, Any]) -> Problem:
    loc = entry["loc"]
    place = place_of(loc)
    if entry["type"] == "extra_forbidden":
        if loc[-1] in CONFINED:
            return Problem(place, "is not allowed: a session's pod stays confined to itself; remove it")
        return Problem(place, f"unknown field; {hint(str(loc[-1]), fields_of(MediaPipeline, loc[:-1]))}")
    return Problem(place, sentence(entry))


def fields_of(model: type[BaseModel], loc: Loc) -> list[str]:
    """Names that the model at a place below `model` knows; empty inside free objects."""
    for step in loc:
        if isinstance(step, str):
            fields = [field for name, field in model.model_fields.items() if (field.alias or name) == step]
            found = list(_models(fields[0].annotation)) if fields else []
            if not found:
                return []
            model = found[0]
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _prune(manifest: dict[str, Any], locs: list[Loc]) -> tuple[dict[str, Any], dict[str, list[int]], frozenset[str]]:
    """Leave out what was refused: single optional fields, else the element, else the section."""
    given = manifest.get("spec")
    spec = dict(given) if isinstance(given, dict) else {}
    metadata = manifest["metadata"] if not any(loc[0] == "metadata" for loc in locs) else {"name": "pipeline"}
    for loc in locs:
        if loc[0] == "spec" and len(loc) > 1 and loc[1] not in _LISTS:
            spec.pop(str(loc[1]), None)
    kept: dict[str, list[int]] = {}
    ghosts: set[str] = set()
    for name in _LISTS:
        found = [loc for loc in locs if loc[:2] == ("spec", name)]
        elements = spec.get(name, [])
        if not isinstance(elements, list):
            elements = []
        spec[name], kept[name], lost = _prune_list(name, elements, found)
        if name == "nodes":
            ghosts |= {str(element["name"]) for element in lost if isinstance(element, dict) and "name" in element}
    return (
        {"apiVersion": API_VERSION, "kind": "MediaPipeline", "metadata": metadata, "spec": spec},
        kept,
        frozenset(ghosts),
    )


def _prune_list(name: str, elements: list[Any], locs: list[Loc]) -> tuple[list[Any], list[int], list[Any]]:
    bad: dict[int, set[str]] = {}
    for loc in locs:
        if len(loc) > 2 and isinstance(loc[2], int):
            bad.setdefault(loc[2], set()).add(str(loc[3]) if len(loc) > 3 else "")
    longest = 64 if name != "nodes" else 32
    left: list[Any] = []
    kept: list[int] = []
    lost: list[Any] = []
    for index, element in enumerate(elements):
        fields = bad.get(index, set())
        if len(left) == longest or "" in fields or fields & _NEEDED[name] or not isinstance(element, dict):
            lost.append(element)
            continue
        left.append({key: item for key, item in element.items() if key not in fields})
        kept.append(index)
    return left, kept, lost
