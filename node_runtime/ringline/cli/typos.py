"""Types that look like a slip of the pen: what `validate` warns of, since only a node that starts can tell for certain.

A type that is not in the box may be the author's own, from an image or a script that can't be seen here. One that
nothing visible defines and that is spelt almost like a known one is worth a warning, never a refusal.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from ringline.errors import Problem, SettingsError
from ringline.wording import nearest

if TYPE_CHECKING:
    from ringline.graph.model import MediaPipeline

_ALIKE: Final = 0.75
"""Of difflib's ratio. One wrong, missing or swapped letter in a name of five letters is 0.8."""


def doubtful_types(pipeline: MediaPipeline) -> list[Problem]:
    """Name the nodes whose type nothing here defines and that is spelt almost like one that something does."""
    from ringline.node.discovery import box_names
    from ringline.node.registry import known_types

    box = box_names()
    foreign = [each for each in enumerate(pipeline.spec.nodes) if each[1].type not in box and ":" not in each[1].type]
    folder = Path(pipeline.source.folder or ".")
    shared = [folder, *_shared_paths(pipeline)] if foreign else []
    found = []
    for index, node in foreign:
        known = known_types(folders=[*shared, *(folder / path for path in node.python.extra_paths)])
        close = nearest(node.type, known, cutoff=_ALIKE)
        if node.type not in known and close is not None:
            text = f"nothing that can be seen from here defines '{node.type}'; did you mean '{close}'?"
            found.append(pipeline.source.locate(Problem(f"spec.nodes[{index}].type", text)))
    return found


def _shared_paths(pipeline: MediaPipeline) -> list[Path]:
    """Give the folders where all nodes look: from the manifest, `runtime.toml` and the environment."""
    from ringline.cli.manifests import settings_for

    try:
        return [Path(path) for path in settings_for(pipeline, None, {}).extra_paths]
    except SettingsError:  # whoever runs it is told
        return []
