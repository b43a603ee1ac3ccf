"""From the text ``module:Class`` to the class, function or object that it names, in an agent's process.

The module may be installed, lie in one of the agent's folders, or be the application's own script (``__main__:Class``).
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ringline.errors import NodeLoadError
from ringline.names import ENV_NODE, ENV_SCRIPT
from ringline.node import discovery

_METHODS: Final = ("step", "run", "invoke")
"""What an agent does, the first of these that it has; else it is called itself."""


def load(target: str) -> Any:
    """Give what `target` names. Raises `NodeLoadError` that says what can't be imported or found."""
    module, _, name = target.partition(":")
    if not module or not name:
        raise NodeLoadError(f"agent '{target}': write module:Class, as in 'world.agents:Walker'")
    found: Any = _script(target) if module == "__main__" else discovery.import_named(module, target)
    for part in name.split("."):
        if not hasattr(found, part):
            raise NodeLoadError(f"agent '{target}': module '{module}' has no '{name}'")
        found = getattr(found, part)
    return found


def _script(target: str) -> Any:
    script = os.environ.get(ENV_SCRIPT)
    if script is None and ENV_NODE not in os.environ:
        return sys.modules["__main__"]  # this is the application itself
    if not script or not discovery.has_guard(Path(script)):
        raise NodeLoadError(
            f"agent '{target}': the application's script can't be imported; put its start under "
            '`if __name__ == "__main__":` or the class into a module'
        )
    return discovery.import_script(Path(script), target)


def make(target: str, arguments: Mapping[str, Any], **offered: Any) -> Any:
    """Make an agent: a class is called with its arguments, and with what of `offered` it asks for; others are taken as they are."""
    found = load(target)
    if not inspect.isclass(found):
        return found
    asked = set(inspect.signature(found).parameters)
    return found(**arguments, **{name: value for name, value in offered.items() if name in asked})


def work_of(agent: Any, target: str, method: str = "") -> Callable[..., Any]:
    """Give what an agent does: its `method`, else `step`, `run` or `invoke`, else the agent itself if it can be called."""
    for name in (method,) if method else _METHODS:
        found = getattr(agent, name, None)
        if callable(found):
            return found  # type: ignore[no-any-return]
    if not method and callable(agent):
        return agent  # type: ignore[no-any-return]
    raise NodeLoadError(f"agent '{target}' has no method {method or ', '.join(_METHODS)} to call")
