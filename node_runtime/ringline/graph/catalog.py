"""The node types in the box as data: ports, config schema, documentation.

`catalog.json` is generated from the classes in `ringline.nodes` (``python -m ringline.node.catalog --write``), so that
the operator can check a graph without importing a node. Types that it does not list are checked when they start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

Entry = Mapping[str, Any]
Catalog = Mapping[str, Entry]
"""Type → {summary, module, aliases, inputs, outputs, config, extra, source, one_to_one, wait_limit, …}; see `declared_ports`.

The last two are the class attributes of `MultiprocessNode` with these names."""

ANY_PORT: Final = "*"
"""As a port's name: every port that a connection names, of the type given."""
ANY_TYPE: Final = "any"


@cache
def load_catalog() -> Catalog:
    """Return the types in the box; empty if the file was not generated."""
    path = files("ringline.graph").joinpath("catalog.json")
    if not path.is_file():
        return {}
    catalog: Catalog = json.loads(path.read_text(encoding="utf-8"))
    return catalog


def find_entry(catalog: Catalog, type_name: str) -> Entry | None:
    """Look a type up by name, then by alias; None for a type that is not in the catalog."""
    if type_name in catalog:
        return catalog[type_name]
    return next((entry for entry in catalog.values() if type_name in entry.get("aliases", ())), None)


def declared_ports(entry: Entry | None, side: str) -> Mapping[str, str] | None:
    """Ports of a type, name → data type; `side` is "inputs" or "outputs". None if the type declares none.

    A name `ANY_PORT` stands for any number of ports.
    """
    if entry is None or entry.get(side) is None:
        return None
    return {name: str(kind) for name, kind in entry[side].items()}


def kinds_match(produced: str, consumed: str) -> bool:
    """Whether data of one type may go to a port of another; ``audio|text`` is a port for both."""
    ours, theirs = set(produced.split("|")), set(consumed.split("|"))
    return ANY_TYPE in ours | theirs or bool(ours & theirs)
