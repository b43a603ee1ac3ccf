"""The Unix socket `ingress` in the session directory: other local processes send into inputs and read outputs.

`ringline run` opens it, `ringline send` and `recv` talk to it. Only this user can reach it: the directory has mode 0700.
A connection begins with one `open` frame that names an input or an output; the answer is `opened` or `error`:

- input: ``{"op": "open", "input": "microphone"}``, then `data` frames and at last `done`, or `end` to end the input's
  stream too; the answer to both is `closed` with the number of messages taken. One client at a time feeds an input.
- output: ``{"op": "open", "output": "speaker"}``, then `data` frames come, and `end` when the output has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from ringline.data import RuntimeData
from ringline.errors import DataError, RinglineError, SessionError
from ringline.host import framing
from ringline.host.outlets import Outlets

INGRESS_SOCKET: Final = "ingress"
MAX_CLIENTS: Final = 32
OPEN_PATIENCE_S: Final = 5.0
"""A client that has not said what it wants by then is let go."""

LINGER_S: Final = 2.0
"""How long what a refused client goes on sending is read and thrown away."""


class Inputs(Protocol):
    """What the ingress needs of a session."""

    async def send(self, node_id: str, data: Any, *, timeout: float | None = None) -> object:
        """Put a message into an input; wait while it is full."""

    async def end(self, node_id: str | None = None) -> None:
        """Mark the end of an input's stream."""


class Ingress:
    """Serves the socket while it is entered (`async with`)."""

    def __init__(
        self, session: Inputs, outlets: Outlets, directory: Path, *, inputs: tuple[str, ...], max_message_bytes: int
    ) -> None:
        self.path = directory / INGRESS_SOCKET
        self._session = session
        self._outlets = outlets
        self._inputs = inputs
        self._max_message_bytes = max_message_bytes
        self._fed: set[str] = set()
        self._clients: set[asyncio.Task[Any]] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._accepting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Ingress:
        self._listener.bind(str(self.path))
        self._listener.listen(MAX_CLIENTS)
        self._accepting = asyncio.create_task(self._accept(), name="ingress-accept")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            # Waiting for it also lets a client that was accepted in the very last moment begin, hence end in order.
            await asyncio.gather(self._accepting, return_exceptions=True)
        self._listener.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def feeding(self, name: str) -> Iterator[None]:
        """Reserve an input: a second one who would feed it is refused."""
        if name not in self._inputs:
            raise SessionError(f"the session has no input {name!r} (it has: {', '.join(self._inputs) or 'none'})")
        if name in self._fed:
            raise SessionError(f"input {name!r} is being fed by somebody else; wait until they have finished")
        self._fed.add(name)
        try:
            yield
        finally:
            self._fed.discard(name)

    async def _accept(self) -> None:
        # Not asyncio.start_unix_server: closing it in the moment of a connection leaves that one open for ever.
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._listener)
            task = loop.create_task(self._client(connection), name="ingress-client")
            self._clients.add(task)
            task.add_done_callback(self._clients.discard)

    async def _client(self, connection: socket.socket) -> None:
        reader, writer = await _streams(connection)
        try:
            if len(self._clients) > MAX_CLIENTS:
                raise SessionError(f"{MAX_CLIENTS} clients are connected already")
            await self._serve(reader, writer)
        except RinglineError as error:
            await _answer(writer, op="error", error=str(error), kind=type(error).__name__)
            await _linger(reader)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the session ends: both are ordinary
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(OPEN_PATIENCE_S):
                frame = await framing.read(reader, 0)
        except TimeoutError:
            raise DataError(f"no open frame came within {OPEN_PATIENCE_S:g}s") from None
        if frame is None:
            return
        header, _ = frame
        if header["op"] != "open" or isinstance(header.get("input"), str) == isinstance(header.get("output"), str):
            raise DataError('a connection begins with {"op": "open", "input": NAME} or {"op": "open", "output": NAME}')
        if "input" in header:
            await self._take(header["input"], reader, writer)
        else:
            await self._give(header["output"], reader, writer)

    async def _take(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken = 0
        with self.feeding(name):
            await _answer(writer, op="opened", max_message_bytes=self._max_message_bytes)
            while (frame := await framing.read(reader, self._max_message_bytes)) is not None:
                header, body = frame
                if header["op"] == "data":
                    await self._session.send(name, framing.message(header, body))
                    taken += 1
                    continue
                if header["op"] == "end":
                    await self._session.end(name)
                elif header["op"] != "done":
                    raise DataError(f"an input takes data, end or done, not {header['op']!r:.40}")
                await _answer(writer, op="closed", messages=taken)
                return

    async def _give(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        outlet = self._outlets.get(name)
        over = asyncio.Event()

        async def listener(data: RuntimeData | None) -> None:
            try:
                framing.write(writer, [b"".join(framing.message_frame(data) if data else _end())])
                await writer.drain()
            except (ConnectionError, RuntimeError):
                data = None
            if data is None:
                over.set()

        await _answer(writer, op="opened", max_message_bytes=self._max_message_bytes)
        await outlet.listen(listener)
        gone = asyncio.create_task(reader.read(), name="ingress-gone")
        ended = asyncio.create_task(over.wait(), name="ingress-over")
        try:
            await asyncio.wait((gone, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            outlet.leave(listener)
            gone.cancel()
            ended.cancel()


async def _streams(connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _end() -> list[Any]:
    return framing.pack({"op": "end"})


async def _linger(reader: asyncio.StreamReader) -> None:
    # A client that is still sending would have its connection reset, and never read the answer.
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(LINGER_S):
            while await reader.read(1 << 16):
                pass


async def _answer(writer: asyncio.StreamWriter, **header: Any) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError):
        framing.write(writer, framing.pack(header))
        await writer.drain()
