"""Which session `send`, `recv` and `run --session` speak to, as their common options say it: here, on a cluster, or at a URL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from ringline.cli.complete import session_ids

SessionOption = Annotated[
    str,
    typer.Option(
        "--session",
        "-s",
        metavar="NAME",
        help="The session: its id on this machine, else a MediaSession of kubectl's cluster.",
        autocompletion=session_ids,
    ),
]
NamespaceOption = Annotated[
    str,
    typer.Option("--namespace", "-n", metavar="NAME", help="The MediaSession's namespace; looks on the cluster only."),
]
ContextOption = Annotated[
    str, typer.Option("--context", metavar="NAME", help="kubectl's context; looks on the cluster only.")
]
UrlOption = Annotated[
    str,
    typer.Option(
        "--url",
        metavar="URL",
        help="Where the gateway answers, without port-forward: ws://HOST:9443. The token is RINGLINE_INGRESS_TOKEN, "
        "or that of --session.",
    ),
]


@dataclass(frozen=True)
class Place:
    """What the four options say. Empty: not given."""

    session: str = ""
    namespace: str = ""
    context: str = ""
    url: str = ""

    @property
    def on_cluster(self) -> bool:
        """Whether this machine's own sessions are out of the question."""
        return bool(self.namespace or self.context or self.url)


def place(session: str, namespace: str, context: str, url: str) -> Place:
    """Join the options. `typer.BadParameter` if they name no session, or a URL of another kind."""
    if not session and not url:
        raise typer.BadParameter("say which session: --session NAME, or --url ws://HOST:9443")
    if url and not url.startswith(("ws://", "wss://")):
        raise typer.BadParameter(f"--url {url}: a gateway is reached by ws:// or wss://")
    if not session and (namespace or context):
        raise typer.BadParameter("--namespace and --context need --session NAME")
    return Place(session, namespace, context, url)
