"""Writes `graph/catalog.json`: what is known about the node types in the box without importing them.

Manifests are checked against it (ports, config schemas), the registry finds the box's modules by it, and ``ringline nodes``
prints it. Run ``python -m ringline.node.catalog --write`` after a change of a node's ports, config or docstring; a test
compares the file with the classes.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

from ringline.node.base import MultiprocessNode, SourceNode
from ringline.node.discovery import CATALOG_FILE

BOX = "ringline.nodes"
ELSEWHERE = ("ringline.agents.node",)
"""Modules of types in the box that need more than the public node API."""


def box_classes() -> dict[str, type[MultiprocessNode]]:
    """Import the whole box and give its node classes by type name, sorted."""
    found = {cls.node_type: cls for module in _modules() for cls in _nodes_in(module)}
    return dict(sorted(found.items()))


def entry(cls: type[MultiprocessNode]) -> dict[str, Any]:
    """Give what the catalog says about one class."""
    description = inspect.cleandoc(cls.__doc__ or "")
    return {
        "summary": description.partition("\n")[0],
        "description": description,
        "module": f"{cls.__module__}:{cls.__qualname__}",
        "aliases": list(cls.aliases),
        "inputs": _ports(cls.inputs),
        "outputs": _ports(cls.outputs),
        "config": _schema(cls),
        "extra": cls.extra,
        "source": issubclass(cls, SourceNode),
        "one_to_one": cls.one_to_one,
        "wait_limit": cls.wait_limit,
    }


def catalog_text() -> str:
    """Give the whole catalog as it is stored: JSON, one entry per type."""
    return json.dumps({name: entry(cls) for name, cls in box_classes().items()}, indent=2) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """``--write`` the catalog, or (without) say whether the stored one is up to date: exit code 0 or 1."""
    parser = argparse.ArgumentParser(
        prog="python -m ringline.node.catalog", description="The catalog of the node types in the box."
    )
    parser.add_argument("--write", action="store_true", help=f"write {CATALOG_FILE}")
    text = catalog_text()
    if parser.parse_args(arguments).write:
        CATALOG_FILE.write_text(text, encoding="utf-8")
        return 0
    if CATALOG_FILE.exists() and CATALOG_FILE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{CATALOG_FILE} is out of date: run python -m ringline.node.catalog --write", file=sys.stderr)
    return 1


def _modules() -> Iterator[Any]:
    box = import_module(BOX)
    for module in walk_packages(box.__path__, f"{BOX}."):
        yield import_module(module.name)
    yield from map(import_module, ELSEWHERE)


def _nodes_in(module: Any) -> Iterator[type[MultiprocessNode]]:
    for value in vars(module).values():
        if (
            inspect.isclass(value)
            and issubclass(value, MultiprocessNode)
            and value.__module__ == module.__name__
            and value.node_type
        ):
            yield value


def _ports(ports: Mapping[str, Any] | None) -> dict[str, str] | None:
    return None if ports is None else {name: str(kind) for name, kind in ports.items()}


def _schema(cls: type[MultiprocessNode]) -> dict[str, Any]:
    """Give the config's JSON schema, without the titles that pydantic makes of names; a class without one takes anything."""
    if cls.Config is None:
        return {"type": "object"}
    schema = cls.Config.model_json_schema()
    return {key: _untitled(value) for key, value in schema.items() if key not in ("title", "description")}


def _untitled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _untitled(part) for key, part in value.items() if key != "title" or not isinstance(part, str)}
    return [_untitled(part) for part in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
