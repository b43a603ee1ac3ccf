"""`ringline send`: feed a file into an input of a running session, here or on a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from ringline.cli.console import counted
from ringline.cli.places import ContextOption, NamespaceOption, SessionOption, UrlOption, place

NAME = "send"
EXAMPLES = (
    "ringline send --session voice-7 microphone question.wav",
    "echo hello | ringline send --session chat text -",
    "ringline send --session call-4711 --namespace team-a microphone question.wav",
    "ringline send --url ws://10.124.0.7:9443 microphone question.wav",
)


def command(
    name: Annotated[str, typer.Argument(metavar="INPUT", help="The session input's name.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="What to send; - reads stdin.")],
    *,
    session: SessionOption = "",
    namespace: NamespaceOption = "",
    context: ContextOption = "",
    url: UrlOption = "",
    end: Annotated[bool, typer.Option("--end", help="End the input's stream afterwards.")] = False,
    realtime: Annotated[bool, typer.Option("--realtime", help="Send at the media's own pace.")] = False,
    block_ms: Annotated[
        float, typer.Option("--block-ms", metavar="MS", min=1.0, max=10000.0, help="Length of the blocks of sound.")
    ] = 20.0,
) -> None:
    """Feed a file into an input of a running session: sound, video, text, JSON or bytes, by the file's suffix."""
    import asyncio

    from ringline.cli.client import feed_input
    from ringline.cli.feeds import Feed
    from ringline.cli.media import check_input
    from ringline.cli.reach import reached

    where = place(session, namespace, context, url)
    check_input(file)
    feed = Feed(name, file, "any")

    async def send() -> int:
        async with reached(where) as address:
            return await feed_input(address, feed, end=end, realtime=realtime, block_ms=block_ms)

    typer.echo(f"{counted(asyncio.run(send()), 'message')} sent to {name}", err=True)
