"""A WebSocket client for tests of the ingress: says and hears frames of `ringline.v1`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from ringline import RuntimeData
from ringline.host import framing

PATIENCE_S = 60.0


class Client:
    """One connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, data: RuntimeData) -> None:
        await self.connection.send(b"".join(bytes(piece) for piece in framing.message_frame(data)))

    async def say(self, **header: Any) -> None:
        await self.connection.send(json.dumps(header))

    async def hear(self) -> tuple[dict[str, Any], RuntimeData | None]:
        """The next frame, with its message if it is `data`."""
        async with asyncio.timeout(PATIENCE_S):
            wire = await self.connection.recv(decode=False)
        end = 4 + int.from_bytes(wire[:4], "little")
        header = framing.parse_header(bytes(wire[4:end]))
        return header, framing.message(header, bytes(wire[end:])) if header["op"] == "data" else None

    async def until(self, operation: str) -> tuple[dict[str, Any], RuntimeData | None]:
        """The next frame of this kind; others are passed over."""
        while True:
            header, data = await self.hear()
            if header["op"] == operation:
                return header, data

    async def text(self, text: str) -> str:
        """Send a line and give the answer to it; JSON as text."""
        await self.send(RuntimeData.text(text))
        _, data = await self.until("data")
        assert data is not None
        return data.payload if isinstance(data.payload, str) else json.dumps(data.payload)


@asynccontextmanager
async def client(
    port: int, path: str, token: str, protocol: str = "ringline.v1", **options: Any
) -> AsyncIterator[Client]:
    """Connect to a gateway of this machine."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with connect(
        f"ws://127.0.0.1:{port}{path}",
        additional_headers=headers,
        subprotocols=[Subprotocol(protocol)],
        max_size=None,
        **options,
    ) as connection:
        yield Client(connection)
