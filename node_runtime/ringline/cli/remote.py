"""The client's side of a pod's WebSocket ingress: what `client` says to a session on a cluster.

The frames are those of the local ingress, one in each WebSocket message. The token comes from the environment or the
session's Secret, so that it stands in no process list.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as dial
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from ringline.cli.client import error_of
from ringline.cli.reach import Address
from ringline.data import RuntimeData
from ringline.errors import SessionError
from ringline.host import framing
from ringline.names import ENV_INGRESS_TOKEN, MAX_MESSAGE_BYTES

_HEAD = 4


class RemoteConnection:
    """One WebSocket with the verbs of a local connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def say(self, header: dict[str, Any]) -> None:
        """Send a frame without a body."""
        await self._write(framing.pack(header))

    async def send(self, data: RuntimeData) -> None:
        """Send a message. What the gateway says instead of taking it is raised by `hear`."""
        await self._write(framing.message_frame(data))

    async def _write(self, pieces: list[Any]) -> None:
        try:
            await self._socket.send(b"".join(bytes(piece) for piece in pieces))
        except ConnectionClosed as error:
            raise _ended(error) from None

    async def hear(self) -> tuple[dict[str, Any], bytes]:
        """Return the next frame. Raises the session's error, or `SessionError` when the connection ended."""
        try:
            wire = await self._socket.recv(decode=False)
        except ConnectionClosed as error:
            raise _ended(error) from None
        end = _HEAD + int.from_bytes(wire[:_HEAD], "little")
        header = framing.parse_header(bytes(wire[_HEAD:end]))
        if header["op"] == "error":
            raise error_of(header)
        return header, bytes(wire[end:])


def _ended(error: ConnectionClosed) -> SessionError:
    said = error.rcvd.reason if error.rcvd else ""
    return SessionError(f"the session ended the connection{': ' + said if said else ''}")


@contextlib.asynccontextmanager
async def connect_url(address: Address, **ends: str) -> AsyncIterator[RemoteConnection]:
    """Open an input (``input="microphone"``) or an output (``output="speaker"``) of the session at the address's URL.

    Raises `SessionError` if nobody answers there, or the gateway refuses.
    """
    ((kind, name),) = ends.items()
    url, token = address.url, address.token
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        socket = await dial(
            f"{url.rstrip('/')}/v1/{kind}s/{quote(name, safe='')}",
            additional_headers=headers,
            subprotocols=[Subprotocol("ringline.v1")],
            max_size=MAX_MESSAGE_BYTES + framing.MAX_HEADER_BYTES + _HEAD,
            compression=None,
        )
    except InvalidStatus as error:
        said = bytes(error.response.body or b"").decode(errors="replace").strip()
        hint = f"; set {ENV_INGRESS_TOKEN}" if error.response.status_code == 401 and not token else ""
        raise SessionError(f"{url} refuses: {said or error}{hint}") from None
    except (OSError, InvalidURI, InvalidHandshake) as error:
        raise SessionError(f"no session answers at {url}: {error}") from None
    async with socket:
        connection = RemoteConnection(socket)
        await connection.hear()
        yield connection
