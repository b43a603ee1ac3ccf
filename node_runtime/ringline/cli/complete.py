"""What the shell offers for an argument: node types and the sessions that run here.

Called by typer when the user presses Tab; an error must offer nothing rather than print.
"""

from __future__ import annotations

import os


def node_types(incomplete: str) -> list[str]:
    """Return the types in the box that begin like this, aliases too."""
    from ringline.graph.catalog import load_catalog

    names = [name for type_name, entry in load_catalog().items() for name in (type_name, *entry.get("aliases", ()))]
    return sorted(name for name in names if name.startswith(incomplete))


def session_ids(incomplete: str) -> list[str]:
    """Return the sessions of this user on this machine that begin like this."""
    from ringline.errors import RinglineError
    from ringline.host.directory import base_directory
    from ringline.names import LOCK_FILE

    try:
        folders = base_directory(os.environ).iterdir()
        return sorted(path.name for path in folders if path.name.startswith(incomplete) and (path / LOCK_FILE).exists())
    except (RinglineError, OSError):
        return []
