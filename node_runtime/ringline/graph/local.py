"""What only this machine can tell about a pipeline: whether the folders and environments that it names exist.

Called by the CLI and the session beside `validate`; not by the operator, whose nodes see another file system.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ringline.errors import Problem
from ringline.graph.model import MediaPipeline
from ringline.graph.policies import PythonSpec


def check_paths(pipeline: MediaPipeline) -> list[Problem]:
    """Return a problem for each `venvPath` and `extraPaths` that does not exist; relative ones start at the manifest."""
    sections = [("spec.runtime.python", pipeline.spec.runtime.python)]
    sections += [(f"spec.nodes[{index}].python", node.python) for index, node in enumerate(pipeline.spec.nodes)]
    folder = Path(pipeline.source.folder or ".")
    found = [problem for place, python in sections for problem in _missing(place, python, folder)]
    return [pipeline.source.locate(problem) for problem in found]


def _missing(place: str, python: PythonSpec, folder: Path) -> Iterator[Problem]:
    if python.venv_path is not None:
        venv = folder / python.venv_path
        if not venv.is_dir():
            yield Problem(f"{place}.venvPath", f"folder {venv} does not exist; make it with: python3 -m venv {venv}")
        elif not (venv / "bin" / "python").exists():
            yield Problem(f"{place}.venvPath", f"{venv} is no virtual environment (it has no bin/python)")
    for index, path in enumerate(python.extra_paths):
        if not (folder / path).is_dir():
            yield Problem(f"{place}.extraPaths[{index}]", f"folder {folder / path} does not exist; correct the path")
