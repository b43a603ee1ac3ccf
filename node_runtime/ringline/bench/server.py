"""The peer that `work.Mixed` asks: a WebSocket server on the loopback that answers each message after a while.

`study` runs it as a process of its own (`python -m ringline.bench.server`), as a remote service would be; it prints its port and
ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

ANSWER_S: Final = 0.001
"""What the network and the service take: without it nothing would wait on a loopback."""


async def answer(connection: ServerConnection) -> None:
    """Send every message back, until the other side is gone, in whichever way."""
    from websockets.exceptions import ConnectionClosed

    with suppress(ConnectionClosed):
        async for message in connection:
            await asyncio.sleep(ANSWER_S)
            await connection.send(message)


async def serve_until_end() -> None:
    """Serve until the end of standard input."""
    from websockets.asyncio.server import serve

    async with serve(answer, "127.0.0.1", 0, compression=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve_until_end())
