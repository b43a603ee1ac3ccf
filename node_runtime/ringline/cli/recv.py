"""`ringline recv`: write what comes out of an output of a running session, here or in a pod."""

from __future__ import annotations

from typing import Annotated

import typer

from ringline.cli.complete import session_ids
from ringline.cli.console import counted
from ringline.cli.places import one_place

NAME = "recv"
EXAMPLES = (
    "ringline recv --session voice-7 speaker --output answer.wav",
    "ringline recv --session chat text",
    "ringline recv --url ws://127.0.0.1:9443 speaker --output answer.wav",
)


def command(
    name: Annotated[str, typer.Argument(metavar="OUTPUT", help="The session output's name.")],
    session: Annotated[
        str, typer.Option("--session", "-s", metavar="ID", help="The session's id.", autocompletion=session_ids)
    ] = "",
    url: Annotated[
        str,
        typer.Option("--url", metavar="URL", help="A session in a pod: ws://HOST:9443; token: RINGLINE_INGRESS_TOKEN."),
    ] = "",
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
        received = asyncio.run(read_output(one_place(session, url), name, writer, count))
    finally:
        writer.close()
    typer.echo(f"{counted(received, 'message')} received from {name}", err=True)
