"""Folders and environments that a manifest names must exist on this machine."""

from __future__ import annotations

from pathlib import Path

from ringline.graph.local import check_paths
from ringline.graph.manifest import read_manifest
from tests.unit.graph.graphs import HEADER


def test_every_missing_path_is_reported_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "empty").mkdir()
    manifest = tmp_path / "p.yaml"
    manifest.write_text(
        HEADER
        + "spec:\n"
        + "  runtime: {python: {extraPaths: [nodes, absent]}}\n"
        + "  nodes:\n"
        + "  - {name: a, type: t, python: {venvPath: .venv}}\n"
        + "  - {name: b, type: t, python: {venvPath: empty, extraPaths: [/absent]}}\n",
        encoding="utf-8",
    )
    [pipeline] = read_manifest(manifest)
    found = [(problem.line, str(problem)) for problem in check_paths(pipeline)]
    assert found == [
        (5, f"spec.runtime.python.extraPaths[1]: folder {tmp_path}/absent does not exist; correct the path"),
        (
            7,
            (
                f"spec.nodes[0].python.venvPath: folder {tmp_path}/.venv does not exist; "
                f"make it with: python3 -m venv {tmp_path}/.venv"
            ),
        ),
        (8, f"spec.nodes[1].python.venvPath: {tmp_path}/empty is no virtual environment (it has no bin/python)"),
        (8, "spec.nodes[1].python.extraPaths[0]: folder /absent does not exist; correct the path"),
    ]


def test_paths_that_exist_are_no_problem(tmp_path: Path) -> None:
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "python").touch()
    manifest = tmp_path / "p.yaml"
    manifest.write_text(
        HEADER + "spec:\n  nodes:\n  - {name: a, type: t, python: {venvPath: env, extraPaths: [env]}}\n"
    )
    [pipeline] = read_manifest(manifest)
    assert check_paths(pipeline) == []
