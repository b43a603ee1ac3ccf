"""One node at a time: its configuration against the type's schema, environment, volumes, executor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ringline.errors import Problem
from ringline.graph.catalog import Catalog, find_entry
from ringline.graph.draft import Draft
from ringline.graph.model import NodeSpec
from ringline.graph.source import below
from ringline.names import RESERVED_ENV, RESERVED_ENV_PREFIX
from ringline.wording import hint, listed, shown


def check_nodes(draft: Draft, catalog: Catalog) -> Iterator[Problem]:
    """Everything that concerns one node alone."""
    volumes = {volume.name for volume in draft.pipeline.spec.pod.volumes}
    for place, node in draft.nodes:
        yield from _check_config(f"{place}.config", node, catalog)
        yield from _check_env(f"{place}.env", node)
        yield from _check_mounts(f"{place}.volumeMounts", node, volumes)
    yield from _check_executors(draft)
    yield from _check_volumes(draft)
    yield from _check_ingress(draft)


def _check_config(place: str, node: NodeSpec, catalog: Catalog) -> Iterator[Problem]:
    found = list(_not_json(place, node.config))
    entry = find_entry(catalog, node.type)
    if found or entry is None or not entry.get("config"):
        yield from found
    else:
        yield from _check_schema(place, node, entry["config"])


def _not_json(place: str, value: Any) -> Iterator[Problem]:
    if isinstance(value, float) and not math.isfinite(value):
        yield Problem(place, f"{value} is no JSON number; write a finite one, or leave it out")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _not_json(below(place, [str(key)]), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_json(f"{place}[{index}]", item)
    elif value is not None and not isinstance(value, str | int | float):
        yield Problem(place, f"{shown(value)} can't be written as JSON; use texts, numbers, lists and mappings")


def _check_schema(place: str, node: NodeSpec, schema: dict[str, Any]) -> Iterator[Problem]:
    import jsonschema

    for error in jsonschema.Draft202012Validator(schema).iter_errors(node.config):
        here = below(place, error.absolute_path)
        if error.validator == "additionalProperties":
            known = list((error.schema.get("properties") or {}) if isinstance(error.schema, dict) else {})
            for name in sorted(set(error.instance) - set(known)):
                yield Problem(below(here, [name]), f"unknown field of type {node.type}; {hint(name, known)}")
        else:
            yield Problem(here, _schema_sentence(error.validator, error.validator_value, error.instance, error.message))


def _schema_sentence(rule: Any, wanted: Any, value: Any, message: str) -> str:
    if rule == "required":
        return f"{message[:1].lower()}{message[1:]}; add it"
    worded = {
        "type": "must be {wanted}, not {value}",
        "enum": "must be one of {wanted}, not {value}",
        "const": "must be {wanted}, not {value}",
        "minimum": "must be at least {wanted}, not {value}",
        "maximum": "must be at most {wanted}, not {value}",
        "exclusiveMinimum": "must be more than {wanted}, not {value}",
        "exclusiveMaximum": "must be less than {wanted}, not {value}",
        "minLength": "must have at least {wanted} characters, not {value}",
        "maxLength": "must have at most {wanted} characters, not {value}",
        "pattern": "{value} does not have the form {wanted}",
        "anyOf": "{value} is of none of the kinds that are allowed here",
    }
    names = listed(str(item) for item in wanted) if isinstance(wanted, list) else str(wanted)
    return worded[rule].format(wanted=names, value=shown(value)) if rule in worded else message[:300]


def _check_env(place: str, node: NodeSpec) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, variable in enumerate(node.env):
        where = f"{place}[{index}].name"
        if variable.name in RESERVED_ENV or variable.name.startswith(RESERVED_ENV_PREFIX):
            yield Problem(where, f"{variable.name} is reserved for Ringline; choose another name")
        if variable.name in seen:
            yield Problem(where, f"variable {variable.name} exists already in this node; write it once")
        seen.add(variable.name)


def _check_mounts(place: str, node: NodeSpec, volumes: set[str]) -> Iterator[Problem]:
    for index, mount in enumerate(node.volume_mounts):
        if mount.name not in volumes:
            yield Problem(
                f"{place}[{index}].name",
                f"there is no volume '{mount.name}' in spec.pod.volumes (there are: {listed(sorted(volumes))})",
            )


def _check_executors(draft: Draft) -> Iterator[Problem]:
    inline = [place for place, node in draft.nodes if node.executor == "Inline"]
    if inline and len(inline) < len(draft.nodes):
        yield Problem(
            f"{inline[0]}.executor",
            "Inline is for a whole session; give it to all nodes or to none (it is for debugging)",
        )


def _check_volumes(draft: Draft) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, volume in enumerate(draft.pipeline.spec.pod.volumes):
        if volume.name in seen:
            yield Problem(
                f"spec.pod.volumes[{index}].name", f"volume '{volume.name}' exists already; choose another name"
            )
        seen.add(volume.name)


def _check_ingress(draft: Draft) -> Iterator[Problem]:
    ingress = draft.pipeline.spec.ingress
    if ingress.enabled and ingress.token_secret_ref is None:
        yield Problem("spec.ingress.tokenSecretRef", "is missing; an open ingress needs a Secret with its bearer token")
