"""The way to a session: a socket of this machine, a port that kubectl forwards to a pod, or a URL.

`send`, `recv` and `run --session` enter `reached` once, and open their connections (`client.connect`) at the `Address`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from ringline.cli.cluster import Kubectl
from ringline.cli.places import Place
from ringline.errors import SessionError
from ringline.host.directory import base_directory
from ringline.host.ingress import INGRESS_SOCKET
from ringline.names import ENV_INGRESS_TOKEN


@dataclass(frozen=True)
class Address:
    """Where connections are opened: a session of this machine by its id, or a gateway by its URL and token."""

    session: str = ""
    url: str = ""
    token: str = ""


@contextlib.asynccontextmanager
async def reached(place: Place) -> AsyncIterator[Address]:
    """Hold the way to a session open while entered. Raises `SessionError` if there is none."""
    token = os.environ.get(ENV_INGRESS_TOKEN, "")
    if not place.session:
        yield Address(url=place.url, token=token)
        return
    if not place.on_cluster and _runs_here(place.session):
        yield Address(session=place.session)
        return
    kubectl = Kubectl(place.namespace, place.context)
    try:
        if not place.on_cluster and shutil.which("kubectl") is None:
            raise SessionError("kubectl is not installed, to look on a cluster")
        gateway = await kubectl.gateway(place.session)
    except SessionError as error:
        raise error if place.on_cluster else _nowhere(place.session, error) from None
    token = token or await kubectl.token(gateway)
    if place.url:
        yield Address(url=place.url, token=token)
        return
    async with kubectl.forward(gateway) as port:
        yield Address(url=f"ws://127.0.0.1:{port}", token=token)


def local_sessions() -> list[str]:
    """Return the sessions of this user on this machine that take data from other processes."""
    return sorted(path.parent.name for path in base_directory(os.environ).glob(f"*/{INGRESS_SOCKET}"))


def socket_of(session: str) -> Path:
    """Return where a session of this machine listens."""
    return base_directory(os.environ) / session / INGRESS_SOCKET


def _runs_here(session: str) -> bool:
    return session in local_sessions()


def _nowhere(session: str, error: SessionError) -> SessionError:
    here = ", ".join(local_sessions()) or "none"
    return SessionError(f"no session {session!r} takes data here (those that do: {here}); and {error}")
