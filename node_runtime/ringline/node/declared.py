"""What the files of `extra_paths` declare about their node types, read without importing them.

The session plans with it: the ports that an author's class declares count for a pipeline that leaves them unconnected, and
a source gets no input. What is computed, not written down, is found out when the node starts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ringline.node import discovery


def declared_types(folders: Iterable[str | Path]) -> dict[str, dict[str, Any]]:
    """Give catalog entries {inputs, outputs, source, one_to_one, wait_limit} by type name, for the files directly in `folders`."""
    found: dict[str, dict[str, Any]] = {}
    for file in discovery.candidates([Path(folder) for folder in folders]):
        found |= declared_in(file)
    return found


def declared_in(file: Path) -> dict[str, dict[str, Any]]:
    """Give the entries of one file; none if it can't be read or parsed: importing it says better what is wrong."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return {}
    return {name: _entry(item) for item in tree.body if isinstance(item, ast.ClassDef) for name in _names(item)}


def _names(cls: ast.ClassDef) -> list[str]:
    calls = [call for call in cls.decorator_list if isinstance(call, ast.Call) and _last(call.func) == "register_node"]
    firsts = [call.args[0] for call in calls if call.args]
    return [first.value for first in firsts if isinstance(first, ast.Constant) and isinstance(first.value, str)]


def _entry(cls: ast.ClassDef) -> dict[str, Any]:
    source = any(_last(base) == "SourceNode" for base in cls.bases)
    inputs = _ports(cls, "inputs")
    return {
        "inputs": {} if source and inputs is None else inputs,
        "outputs": _ports(cls, "outputs"),
        "source": source,
        "one_to_one": _constant(cls, "one_to_one") is True,
        "wait_limit": str(_constant(cls, "wait_limit") or ""),
    }


def _ports(cls: ast.ClassDef, name: str) -> dict[str, str] | None:
    """Read a class attribute that is a literal mapping from port names to types; None if it is anything else."""
    value = _assigned(cls, name)
    if isinstance(value, ast.Dict):
        keys = [key.value for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
        if len(keys) == len(value.values):
            return {key: _kind(kind) for key, kind in zip(keys, value.values, strict=True)}
    return None


def _constant(cls: ast.ClassDef, name: str) -> Any:
    """Read a class attribute that is a literal constant; None if it is anything else."""
    value = _assigned(cls, name)
    return value.value if isinstance(value, ast.Constant) else None


def _assigned(cls: ast.ClassDef, name: str) -> ast.expr | None:
    for item in cls.body:
        target = item.targets[0] if isinstance(item, ast.Assign) else getattr(item, "target", None)
        value: ast.expr | None = getattr(item, "value", None)
        if isinstance(target, ast.Name) and target.id == name:
            return value
    return None


def _kind(value: ast.expr) -> str:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    return value.attr.lower() if isinstance(value, ast.Attribute) and _last(value.value) == "DataType" else "any"


def _last(expression: ast.expr) -> str:
    """Give the last part of a dotted name."""
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""
