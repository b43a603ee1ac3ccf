"""Where the session is that `send` and `recv` speak to: on this machine by its id, or in a pod by its gateway's URL."""

from __future__ import annotations

import typer


def one_place(session: str, url: str) -> str:
    """Return the one that was given. `typer.BadParameter` for none, both, or a URL of another kind."""
    if bool(session) == bool(url):
        raise typer.BadParameter("give either --session ID or --url ws://HOST:9443")
    if url and not url.startswith(("ws://", "wss://")):
        raise typer.BadParameter(f"--url {url}: a session in a pod is reached by ws:// or wss://")
    return session or url
