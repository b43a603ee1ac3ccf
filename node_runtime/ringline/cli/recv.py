"""`ringline recv`: write what comes out of an output of a session that runs on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from ringline.cli.complete import session_ids
from ringline.cli.console import counted

NAME = "recv"
EXAMPLES = (
    "ringline recv --session voice-7 speaker --output answer.wav",
    "ringline recv --session chat text",
)


def command(
    name: Annotated[str, typer.Argument(metavar="OUTPUT", help="The session output's name.")],
    session: Annotated[
        str, typer.Option("--session", "-s", metavar="ID", help="The session's id.", autocompletion=session_ids)
    ],
    file: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to write; - prints text and JSON.")
    ] = "-",
    count: Annotated[
        int | None, typer.Option("--count", "-n", metavar="N", min=1, help="End after so many messages.")
    ] = None,
) -> None:
    """Write what comes out of an output from now on, until it ends or Ctrl-C."""
    import asyncio

    from ringline.cli.client import read_output
    from ringline.cli.media import open_writer

    writer = open_writer(file)
    try:
        received = asyncio.run(read_output(session, name, writer, count))
    finally:
        writer.close()
    typer.echo(f"{counted(received, 'message')} received from {name}", err=True)
