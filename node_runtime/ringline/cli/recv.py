"""`ringline recv`: write what comes out of an output of a running session, here or on a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from ringline.cli.console import counted
from ringline.cli.places import ContextOption, NamespaceOption, SessionOption, UrlOption, place

NAME = "recv"
EXAMPLES = (
    "ringline recv --session voice-7 speaker --output answer.wav",
    "ringline recv --session chat text",
    "ringline recv --session call-4711 --namespace team-a speaker --output answer.wav",
    "ringline recv --url ws://10.124.0.7:9443 speaker --output answer.wav",
)


def command(
    name: Annotated[str, typer.Argument(metavar="OUTPUT", help="The session output's name.")],
    *,
    session: SessionOption = "",
    namespace: NamespaceOption = "",
    context: ContextOption = "",
    url: UrlOption = "",
    file: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to write; - prints text and JSON.")
    ] = "-",
    count: Annotated[
        int | None, typer.Option("--count", "-c", metavar="N", min=1, help="End after so many messages.")
    ] = None,
) -> None:
    """Write what comes out of an output from now on, until it ends or Ctrl-C."""
    import asyncio

    from ringline.cli.client import read_output
    from ringline.cli.media import check_output, open_writer
    from ringline.cli.reach import reached

    where = place(session, namespace, context, url)
    check_output(file)
    writer = open_writer(file)

    async def receive() -> int:
        async with reached(where) as address:
            return await read_output(address, name, writer, count)

    try:
        received = asyncio.run(receive())
    finally:
        writer.close()
    typer.echo(f"{counted(received, 'message')} received from {name}", err=True)
