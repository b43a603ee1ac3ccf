"""Node types from all their sources, as catalog entries: the box, installed packages, folders, `module:Class`.

Called by nodes and bench. The box is read from the generated catalog, so that listing it imports none of its libraries;
other classes are imported, since nothing else says what they are.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ringline.errors import NodeError
from ringline.graph.catalog import find_entry, load_catalog


def known_types(paths: Sequence[Path]) -> dict[str, Mapping[str, Any]]:
    """Return every type that a manifest could name here: the box, then what folders and installed packages register."""
    found: dict[str, Mapping[str, Any]] = dict(load_catalog())
    if paths or _entry_points():
        for name in _own_names(paths):
            found[name] = _entry(name, paths)
    return found


def find_type(name: str, paths: Sequence[Path]) -> tuple[str, Mapping[str, Any]]:
    """Return one type's name and entry. Raises `UnknownNodeTypeError` or `NodeLoadError`."""
    catalog = load_catalog()
    entry = find_entry(catalog, name)
    if entry is not None:
        return next(known for known, each in catalog.items() if each is entry), entry
    return name, _imported(name, paths)


def _own_names(paths: Sequence[Path]) -> list[str]:
    from ringline.node import discovery

    named = {name for file in discovery.candidates(paths) for name in discovery.registered_names(file)}
    return sorted(named | set(_entry_points()))


def _entry_points() -> list[str]:
    from importlib.metadata import entry_points

    return [point.name for point in entry_points(group="ringline.nodes")]


def _entry(name: str, paths: Sequence[Path]) -> Mapping[str, Any]:
    """Return a type's entry; one that can't be imported is listed with the reason instead of a summary."""
    try:
        return _imported(name, paths)
    except NodeError as error:
        return {"summary": f"can't be loaded: {error}", "inputs": None, "outputs": None, "config": {}}


def _imported(name: str, paths: Sequence[Path]) -> Mapping[str, Any]:
    from ringline.node.catalog import entry
    from ringline.node.registry import resolve

    if ":" in name and "" not in sys.path:
        sys.path.insert(0, "")  # `module:Class` means a module here, as with `python -m`
    return entry(resolve(name, extra_paths=[str(path) for path in paths]))
