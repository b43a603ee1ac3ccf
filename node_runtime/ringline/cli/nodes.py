"""`ringline nodes`: list the node types, or document one: its ports, its configuration, its docstring."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ringline.cli.complete import node_types
from ringline.cli.console import console, print_json, table
from ringline.cli.extras import EXTRAS, how_to_install, missing
from ringline.cli.shapes import NodeTypeShape

NAME = "nodes"
EXAMPLES = (
    "ringline nodes",
    "ringline nodes energy_vad",
    "ringline nodes my_module:MyNode",
)

Catalog = Mapping[str, Mapping[str, Any]]
OWN: Final = ""
"""The group of types that are not in the box."""
ORDER: Final = (*EXTRAS, OWN)


def command(
    node_type: Annotated[
        str | None, typer.Argument(metavar="[TYPE]", help="Document this node type.", autocompletion=node_types)
    ] = None,
    paths: Annotated[
        list[Path] | None,
        typer.Option("--path", metavar="FOLDER", help="Also look for node types here. May be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: a list, or one object for TYPE.")] = False,
) -> None:
    """List the node types that a manifest can use, or document one of them."""
    from ringline.cli.types import find_type, known_types

    if node_type is not None:
        name, entry = find_type(node_type, paths or [])
        if as_json:
            print_json(shape_of(name, entry))
        else:
            _print_page(name, entry)
        return
    catalog = known_types(paths or [])
    if as_json:
        print_json([shape_of(name, entry) for name, entry in catalog.items()])
    else:
        _print_list(catalog)


def shape_of(name: str, entry: Mapping[str, Any]) -> NodeTypeShape:
    """Turn a catalog entry into the documented JSON object."""
    extra = extra_of(entry)
    return NodeTypeShape(
        type=name,
        summary=str(entry.get("summary") or ""),
        extra=extra,
        installed=not missing(extra),
        inputs=entry.get("inputs"),
        outputs=entry.get("outputs"),
        config=dict(entry.get("config") or {}),
    )


def _print_list(catalog: Catalog) -> None:
    out = console()
    by_extra: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for name, entry in catalog.items():
        by_extra.setdefault(extra_of(entry), []).append((name, entry))
    for extra, entries in sorted(by_extra.items(), key=lambda group: ORDER.index(group[0])):
        absent = missing(extra)
        state = f"needs {', '.join(absent)}: {how_to_install(extra)}" if absent else "installed"
        title = f"{extra} ({state})" if extra != OWN else "your own"
        rows = [
            (name, ports(entry.get("inputs")), ports(entry.get("outputs")), summary(entry)) for name, entry in entries
        ]
        out.print(table(("type", "inputs", "outputs", "what it does"), sorted(rows), title=title))
        out.print()
    out.print("ringline nodes TYPE documents one of them.")


def extra_of(entry: Mapping[str, Any]) -> str:
    """Return the extra that a type needs: one in the box that names none needs what every session needs."""
    extra = str(entry.get("extra") or "")
    in_box = str(entry.get("module", "")).startswith("ringline.")
    return (extra if extra in EXTRAS else "multiprocess") if in_box else OWN


def summary(entry: Mapping[str, Any]) -> str:
    """Return the sentence of a type, and its other names."""
    aliases = entry.get("aliases") or ()
    also = f" (also: {', '.join(aliases)})" if aliases else ""
    return f"{entry.get('summary', '')}{also}"


def ports(declared: Mapping[str, str] | None) -> str:
    """Write ports as ``audio, text``; a port whose name isn't its data type shows both."""
    if declared is None:
        return "as connected"
    names = [("any name" if port == "*" else port, kind) for port, kind in declared.items()]
    return ", ".join(port if port == kind else f"{port}: {kind}" for port, kind in names) or "-"


def _print_page(name: str, entry: Mapping[str, Any]) -> None:
    out = console()
    extra = extra_of(entry)
    absent = missing(extra)
    out.print(f"{name}: {summary(entry)}")
    out.print()
    out.print(f"inputs:  {ports(entry.get('inputs'))}")
    out.print(f"outputs: {ports(entry.get('outputs'))}")
    if extra != OWN:
        out.print(f"extra:   {extra} ({how_to_install(extra) if absent else 'installed'})")
    out.print()
    rows = config_rows(entry.get("config") or {})
    if rows:
        out.print(table(("config", "type", "default", "meaning"), rows))
    else:
        out.print("It takes no config.")
    body = str(entry.get("description") or "").strip()
    if body:
        out.print()
        out.print(body)


def config_rows(schema: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return a row per property of a JSON schema: name, type, default, meaning."""
    required = set(schema.get("required", ()))
    definitions = schema.get("$defs", {})
    return [
        (
            name,
            type_of(_resolved(prop, definitions)),
            "(required)" if name in required else _literal(prop.get("default")),
            str(prop.get("description") or _resolved(prop, definitions).get("description") or ""),
        )
        for name, prop in schema.get("properties", {}).items()
    ]


def _literal(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _resolved(prop: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = prop.get("$ref")
    return definitions.get(reference.rpartition("/")[2], {}) if isinstance(reference, str) else prop


_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def type_of(prop: Mapping[str, Any]) -> str:
    """Write a schema's type as people do: ``number ≥ 0 ≤ 3``, ``"a" | "b"``, ``string | null``."""
    if "anyOf" in prop:
        return " | ".join(type_of(choice) for choice in prop["anyOf"])
    if "enum" in prop:
        return " | ".join(json.dumps(value) for value in prop["enum"])
    if "const" in prop:
        return json.dumps(prop["const"])
    bounds = "".join(f" {sign} {prop[key]:g}" for key, sign in _BOUNDS.items() if key in prop)
    kind = str(prop.get("type", "any"))
    return f"{kind} of {type_of(prop['items'])}" if isinstance(prop.get("items"), Mapping) else kind + bounds
