"""Which class a node type's name stands for, and where classes are searched.

`register_node` is for authors; the runner calls `resolve` in a node's process. Searched in this order: classes that are
registered already, the box (`ringline.nodes`), the application's own script, the Python files in `extra_paths`, the entry
points of installed packages (group ``ringline.nodes``). A name like ``module:Class`` says itself where to look.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ringline.errors import NodeError, NodeLoadError, UnknownNodeTypeError
from ringline.node import discovery
from ringline.node.base import MultiprocessNode
from ringline.wording import nearest

_Class = TypeVar("_Class", bound=type[MultiprocessNode])
_TYPES: dict[str, type[MultiprocessNode]] = {}


def register_node(name: str) -> Callable[[_Class], _Class]:
    """Register the decorated class under a type name, and under its `aliases`.

    NodeError if the name is taken by another class, or the class does not inherit from `MultiprocessNode`.
    """

    def register(cls: _Class) -> _Class:
        if not (inspect.isclass(cls) and issubclass(cls, MultiprocessNode)):
            raise NodeError(f"@register_node('{name}') needs a class that inherits from MultiprocessNode, not {cls!r}")
        for each in (name, *vars(cls).get("aliases", ())):
            _add(each, cls)
        if not vars(cls).get("node_type"):
            cls.node_type = name
        return cls

    return register


def _add(name: str, cls: type[MultiprocessNode]) -> None:
    taken = _TYPES.get(name)
    if taken is not None and _home(taken) != _home(cls):
        raise NodeError(f"node type '{name}' is defined twice: by {_place(taken)} and by {_place(cls)}; rename one")
    box = discovery.box_entry(name)
    if box is not None and cls.__module__.partition(".")[0] != "ringline":
        raise NodeError(f"node type '{name}' of {_place(cls)} has the name of a type in the box; choose another")
    _TYPES[name] = cls


def registered() -> dict[str, type[MultiprocessNode]]:
    """Copy the table of types that are registered in this process."""
    return dict(_TYPES)


def resolve(
    node_type: str, *, script: Path | None = None, extra_paths: Sequence[str | Path] = ()
) -> type[MultiprocessNode]:
    """Find the class of a node type, importing what has to be imported.

    UnknownNodeTypeError (with the nearest names) if nothing has it; NodeLoadError if its module can't be imported.
    """
    if node_type in _TYPES:
        return _TYPES[node_type]
    paths = [Path(path) for path in extra_paths]
    if ":" in node_type:
        return _by_path(node_type)
    found = (
        _in_box(node_type) or _in_script(node_type, script) or _in_folders(node_type, paths) or _in_packages(node_type)
    )
    if found is not None:
        return found
    raise _unknown(node_type, script, paths)


def _in_box(node_type: str) -> type[MultiprocessNode] | None:
    entry = discovery.box_entry(node_type)
    if entry is None:
        return None
    module, _, name = entry["module"].partition(":")
    hint = f"; install it with: pip install 'ringline[{entry['extra']}]'" if entry.get("extra") else ""
    return _class_in(discovery.import_named(module, node_type, hint), name, node_type)


def _in_script(node_type: str, script: Path | None) -> type[MultiprocessNode] | None:
    if script is None or not discovery.has_guard(script):
        return None
    discovery.import_script(script, node_type)
    return _TYPES.get(node_type)


def _by_path(node_type: str) -> type[MultiprocessNode]:
    module, _, name = node_type.partition(":")
    return _class_in(discovery.import_named(module, node_type), name, node_type)


def _in_folders(node_type: str, folders: Sequence[Path]) -> type[MultiprocessNode] | None:
    """Import the file that names the type; only if none does, the others that register something."""
    files = discovery.candidates(folders)
    likely = [file for file in files if node_type in discovery.registered_names(file)]
    failure: NodeLoadError | None = None
    for file in likely or files:
        try:
            discovery.import_file(file, node_type)
        except NodeLoadError as error:
            failure = failure or error
        if node_type in _TYPES:
            return _TYPES[node_type]
    if failure is not None:
        raise failure
    return None


def _in_packages(node_type: str) -> type[MultiprocessNode] | None:
    point = discovery.entry_points().get(node_type)
    if point is None:
        return None
    loaded = discovery.load_entry_point(point, node_type)
    if inspect.isclass(loaded) and issubclass(loaded, MultiprocessNode):
        return loaded
    if node_type in _TYPES:
        return _TYPES[node_type]
    raise NodeLoadError(
        f"entry point '{point.value}' of node type '{node_type}' is not a node class and registers none"
    )


def _class_in(module: object, name: str, node_type: str) -> type[MultiprocessNode]:
    found = getattr(module, name, None)
    if inspect.isclass(found) and issubclass(found, MultiprocessNode):
        return found
    text = "is not a node class (it must inherit from MultiprocessNode)" if found is not None else "does not exist"
    raise NodeLoadError(f"node type '{node_type}': '{name}' in module '{getattr(module, '__name__', module)}' {text}")


def _unknown(node_type: str, script: Path | None, folders: Sequence[Path]) -> NodeError:
    if script is not None and discovery.mentions_registration(script) and not discovery.has_guard(script):
        return NodeLoadError(
            f"node type '{node_type}' was not found, and the script {script} was not imported to look for it, "
            'because it would run again in each node: put its start under `if __name__ == "__main__":`'
        )
    known = known_types(script, folders)
    close = nearest(node_type, known)
    hint = f"did you mean '{close}'?" if close else f"known: {', '.join(known)}"
    return UnknownNodeTypeError(f"no node type '{node_type}'; {hint}")


def known_types(script: Path | None = None, folders: Sequence[Path] = ()) -> list[str]:
    """List every type name that `resolve` could find, as far as that shows without importing anything."""
    files = [*discovery.candidates(folders), *([script] if script is not None else [])]
    named = {name for file in files for name in discovery.registered_names(file)}
    return sorted(named | set(_TYPES) | discovery.box_names() | set(discovery.entry_points()))


def _home(cls: type[MultiprocessNode]) -> tuple[str, str]:
    """Where a class is written: the same text imported again (a script, as main and as a module) is the same class."""
    try:
        return inspect.getfile(cls), cls.__qualname__
    except (OSError, TypeError):
        return cls.__module__, cls.__qualname__


def _place(cls: type[MultiprocessNode]) -> str:
    return f"{cls.__qualname__} in {_home(cls)[0]}"
