"""`ringline new`: begin a node of one's own, with a test that passes and a manifest that runs."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Annotated

import typer

from ringline.cli.console import epilog
from ringline.cli.templates import render
from ringline.errors import RinglineError

app = typer.Typer(help="Begin something new from a template.", no_args_is_help=True)

_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


@app.callback()
def root() -> None:
    """Begin something new from a template."""


@app.command("node", epilog=epilog("ringline new node loudness --directory nodes"))
def node(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The node type's name, such as loudness.")],
    directory: Annotated[Path, typer.Option("--directory", "-d", help="Where to write the files.")] = Path(),
) -> None:
    """Write a node, a test that passes and a manifest that runs it. Never overwrites a file."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise typer.BadParameter(
            f"{name!r} becomes a Python module: use lower-case letters, digits and '_', beginning with a letter",
            param_hint="NAME",
        )
    files = {directory / file: text for file, text in render(name).items()}
    taken = [str(file) for file in files if file.exists()]
    if taken:
        raise RinglineError(
            f"{', '.join(taken)} exists already and is left as it is; choose another name or --directory"
        )
    directory.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        file.write_text(text, encoding="utf-8")
        typer.echo(f"wrote {file}")
    typer.echo(f"next: pytest {directory / f'test_{name}.py'}; ringline run {directory / f'{name}.yaml'}")
