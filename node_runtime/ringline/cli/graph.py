"""`ringline graph`: draw a manifest's graph as text or Mermaid."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ringline.cli.manifests import PipelineOption, choose_pipeline

NAME = "graph"
EXAMPLES = ("ringline graph voice.yaml --format mermaid",)


class Format(StrEnum):
    """How a graph is drawn."""

    TEXT = "text"
    MERMAID = "mermaid"


def command(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="The pipeline's file.", show_default=False)],
    pipeline: PipelineOption = None,
    form: Annotated[Format, typer.Option("--format", "-f", help="The kind of drawing.")] = Format.TEXT,
) -> None:
    """Draw the graph of a manifest."""
    from ringline.graph.render import render_mermaid, render_text

    document = choose_pipeline(manifest, pipeline)
    draw = render_mermaid if form is Format.MERMAID else render_text
    typer.echo(draw(document).rstrip("\n"))
