"""Finding and importing the modules that may define node classes; `registry` decides in which order.

Looks at files before it imports them: importing a stranger runs its code in every node. What fails to import becomes a
`NodeLoadError` with the last line of its traceback and the place in the author's file.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ringline.errors import NodeLoadError
from ringline.graph.catalog import load_catalog
from ringline.node.failure import describe

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

CATALOG_FILE: Final = Path(__file__).resolve().parents[1] / "graph" / "catalog.json"
SCRIPT_MODULE: Final = "__ringline_script__"
ENTRY_POINTS: Final = "ringline.nodes"
_LARGEST_FILE: Final = 4 << 20
"""Bytes: what is larger is data, not a module that somebody wrote."""

_T = TypeVar("_T")


@cache
def _box() -> dict[str, Mapping[str, Any]]:
    """Read the catalog of the box, by every name of a type."""
    entries = load_catalog()
    aliases = {alias: entry for entry in entries.values() for alias in entry.get("aliases", ())}
    return {**aliases, **entries}


def box_entry(name: str) -> Mapping[str, Any] | None:
    """Give the catalog's entry of a type in the box, by its name or alias, or None."""
    return _box().get(name)


def box_names() -> set[str]:
    """Give the names of all types in the box."""
    return set(_box())


def import_named(name: str, node_type: str, hint: str = "") -> ModuleType:
    """Import an installed module, or one on `sys.path`, for a node type."""
    return guarded(lambda: importlib.import_module(name), node_type, f"module '{name}'", hint)


def import_script(script: Path, node_type: str) -> ModuleType:
    """Import the application's main script under a name of its own, so that its guarded part does not run."""
    if SCRIPT_MODULE in sys.modules:
        return sys.modules[SCRIPT_MODULE]
    _prepend(script.parent)
    return guarded(lambda: _load(SCRIPT_MODULE, script), node_type, f"script {script}")


def import_file(file: Path, node_type: str) -> ModuleType:
    """Import a file of `extra_paths` as the module that its neighbours would import too."""
    folder, name = (file.parent.parent, file.parent.name) if file.name == "__init__.py" else (file.parent, file.stem)
    _prepend(folder)
    present = sys.modules.get(name)
    if present is not None and getattr(present, "__file__", None) != str(file):
        name = f"ringline_extra_{name}"  # a file called json.py must not become everyone's json
    return guarded(lambda: sys.modules.get(name) or _load(name, file), node_type, str(file))


def load_entry_point(point: EntryPoint, node_type: str) -> Any:
    """Load what an installed package offers under a type's name."""
    return guarded(point.load, node_type, f"entry point '{point.value}'")


def entry_points() -> dict[str, EntryPoint]:
    """Give the entry points of installed packages by type name."""
    import importlib.metadata  # takes 20 ms, and few nodes come this far

    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def candidates(folders: Sequence[Path]) -> list[Path]:
    """List the files and packages directly in `folders` that register a node."""
    found: list[Path] = []
    for folder in folders:
        found += sorted(folder.resolve().glob("*.py")) + sorted(folder.resolve().glob("*/__init__.py"))
    return [file for file in found if mentions_registration(file)]


def mentions_registration(file: Path) -> bool:
    """Say whether a file speaks of `register_node` at all."""
    return "register_node" in _text(file)


def registered_names(file: Path) -> set[str]:
    """Give the type names that a file registers by a literal, seen without importing it."""
    found = set()
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Call) and node.args and _called(node) == "register_node":
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add(first.value)
    return found


def has_guard(script: Path) -> bool:
    """Say whether a script keeps its start under ``if __name__ == "__main__":``, so that it can be imported."""
    return any(isinstance(node, ast.If) and _is_main_test(node.test) for node in _tree(script).body)


def _is_main_test(test: ast.expr) -> bool:
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq)):
        return False
    sides = (test.left, test.comparators[0])
    named = any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
    return named and any(isinstance(side, ast.Constant) and side.value == "__main__" for side in sides)


def _called(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _LARGEST_FILE:
            return ""
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _tree(file: Path) -> ast.Module:
    try:
        return ast.parse(_text(file))
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module(body=[], type_ignores=[])  # importing it says better what is wrong


def _load(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _prepend(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def guarded(load: Callable[[], _T], node_type: str, what: str, hint: str = "") -> _T:
    """Run an import of foreign code; whatever it raises (`sys.exit` too) becomes a NodeLoadError."""
    try:
        return load()
    except (Exception, SystemExit) as error:
        found = describe(error)
        missing = hint if isinstance(error, ImportError) else ""
        text = f"node type '{node_type}': {what} can't be imported: {found.error} ({found.place}){missing}"
        raise NodeLoadError(text) from error
