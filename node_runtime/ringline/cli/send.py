"""`ringline send`: feed a file into an input of a running session, here or in a pod."""

from __future__ import annotations

from typing import Annotated

import typer

from ringline.cli.complete import session_ids
from ringline.cli.console import counted
from ringline.cli.places import one_place

NAME = "send"
EXAMPLES = (
    "ringline send --session voice-7 microphone question.wav",
    "echo hello | ringline send --session chat text -",
    "ringline send --url ws://127.0.0.1:9443 microphone question.wav",
)


def command(
    name: Annotated[str, typer.Argument(metavar="INPUT", help="The session input's name.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="What to send; - reads stdin.")],
    *,
    session: Annotated[
        str, typer.Option("--session", "-s", metavar="ID", help="The session's id.", autocompletion=session_ids)
    ] = "",
    url: Annotated[
        str,
        typer.Option("--url", metavar="URL", help="A session in a pod: ws://HOST:9443; token: RINGLINE_INGRESS_TOKEN."),
    ] = "",
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

    feed = Feed(name, file, "any")
    sent = asyncio.run(feed_input(one_place(session, url), feed, end=end, realtime=realtime, block_ms=block_ms))
    typer.echo(f"{counted(sent, 'message')} sent to {name}", err=True)
