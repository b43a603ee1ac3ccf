"""`ringline validate`: print every problem of every file, not only the first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringline.cli.console import counted, print_json
from ringline.cli.shapes import ProblemShape, ValidateShape
from ringline.cli.typos import doubtful_types
from ringline.errors import ManifestError, Problem

if TYPE_CHECKING:
    from ringline.graph.model import MediaPipeline

NAME = "validate"
EXAMPLES = ("ringline validate examples/*/pipeline.yaml",)


def command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Manifests to check.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check manifests and print all their problems, or `ok`; a type that looks misspelt is a warning only."""
    pipelines: list[tuple[Path, MediaPipeline]] = []
    problems: list[ProblemShape] = []
    for file in files:
        found, wrong = check_file(file)
        pipelines += [(file, pipeline) for pipeline in found]
        problems += wrong
    warnings = [
        _shape(file, pipeline.metadata.name, doubt)
        for file, pipeline in pipelines
        for doubt in doubtful_types(pipeline)
    ]
    if as_json:
        names = [pipeline.metadata.name for _, pipeline in pipelines]
        print_json(ValidateShape(ok=not problems, pipelines=names, problems=problems, warnings=warnings))
    else:
        _print(pipelines, problems, warnings)
    if problems:
        raise typer.Exit(1)


def check_file(file: Path) -> tuple[list[MediaPipeline], list[ProblemShape]]:
    """Return the documents of a file that are sound, and the problems of the others."""
    from ringline.graph.local import check_paths
    from ringline.graph.manifest import read_manifest
    from ringline.graph.validate import validate

    try:
        documents = read_manifest(file)
    except ManifestError as error:
        return [], [_shape(file, "", problem) for problem in error.problems]
    except OSError as error:
        return [], [_shape(file, "", Problem("", f"can't be read: {error.strerror}"))]
    sound: list[MediaPipeline] = []
    problems: list[ProblemShape] = []
    for document in documents:
        wrong = [*validate(document), *check_paths(document)]
        problems += [_shape(file, document.metadata.name, problem) for problem in wrong]
        sound += [] if wrong else [document]
    return sound, problems


def _shape(file: Path, pipeline: str, problem: Problem) -> ProblemShape:
    return ProblemShape(
        file=str(file), line=problem.line or None, pipeline=pipeline, place=problem.place, message=problem.message
    )


def _print(
    pipelines: list[tuple[Path, MediaPipeline]], problems: list[ProblemShape], warnings: list[ProblemShape]
) -> None:
    for problem in problems:
        typer.echo(f"{_where(problem)}: {problem['message']}")
    for problem in warnings:
        typer.echo(f"{_where(problem)}: warning: {problem['message']}")
    for file, pipeline in pipelines:
        spec = pipeline.spec
        counts = f"{counted(len(spec.nodes), 'node')}, {counted(len(spec.channels), 'channel')}"
        typer.echo(f"{file}: {pipeline.metadata.name}: ok ({counts})")


def _where(problem: ProblemShape) -> str:
    named = f"{problem['file']}:{problem['line']}" if problem["line"] else problem["file"]
    return ": ".join(part for part in (named, problem["pipeline"], problem["place"]) if part)
