"""The client's side of the ingress: what `ringline send`, `recv` and `run --session` say to a session."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Protocol

from ringline import errors
from ringline.cli.feeds import Feed
from ringline.cli.interrupts import Interrupts
from ringline.cli.media import Writer
from ringline.cli.reach import Address, local_sessions, socket_of
from ringline.data import RuntimeData
from ringline.errors import DataError, RinglineError, SessionError
from ringline.host import framing
from ringline.names import MAX_MESSAGE_BYTES


class Speaking(Protocol):
    """One connection, opened for an input or an output of a session here or in a pod."""

    async def say(self, header: dict[str, Any]) -> None: ...
    async def send(self, data: RuntimeData) -> None: ...
    async def hear(self) -> tuple[dict[str, Any], bytes]: ...


class Connection:
    """A connection to a session of this machine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, header: dict[str, Any]) -> None:
        """Send a frame without a body."""
        framing.write(self._writer, framing.pack(header))
        await self._writer.drain()

    async def send(self, data: RuntimeData) -> None:
        """Send a message."""
        framing.write(self._writer, framing.message_frame(data))
        await self._writer.drain()

    async def hear(self) -> tuple[dict[str, Any], bytes]:
        """Return the next frame. Raises the host's error, or `SessionError` when the connection ended."""
        try:
            frame = await framing.read(self._reader, MAX_MESSAGE_BYTES)
        except ConnectionError:
            frame = None
        if frame is None:
            raise SessionError("the session ended")
        if frame[0]["op"] == "error":
            raise error_of(frame[0])
        return frame


def error_of(header: dict[str, Any]) -> RinglineError:
    """Return the host's error in its own class, as if it had been raised here."""
    found = getattr(errors, str(header.get("kind")), None)
    text = str(header.get("error"))
    if isinstance(found, type) and issubclass(found, RinglineError):
        with contextlib.suppress(TypeError):
            return found(text)
    return DataError(text)


@contextlib.asynccontextmanager
async def connect(address: Address, **ends: str) -> AsyncIterator[Speaking]:
    """Open an input (``input="microphone"``) or an output (``output="speaker"``) of a session.

    Raises `SessionError` if no such session runs there, or it refuses.
    """
    if address.url:
        from ringline.cli.remote import connect_url

        async with connect_url(address, **ends) as remote:
            yield remote
        return
    try:
        reader, writer = await asyncio.open_unix_connection(socket_of(address.session))
    except (FileNotFoundError, ConnectionRefusedError):
        running = ", ".join(local_sessions()) or "none"
        raise SessionError(f"no session {address.session!r} takes data here (those that do: {running})") from None
    connection = Connection(reader, writer)
    try:
        await connection.say({"op": "open", **ends})
        await connection.hear()
        yield connection
    finally:
        writer.close()


async def feed_input(address: Address, feed: Feed, *, end: bool, realtime: bool, block_ms: float) -> int:
    """Feed a file into an input; return how many messages the session took. Raises what the session refuses with."""
    async with connect(address, input=feed.name) as connection, _Input(connection, end=end) as target:
        feeding = asyncio.create_task(feed.run(target, realtime=realtime, block_ms=block_ms))
        try:
            # A session that ends or refuses says so at once, also while the feed waits for a line of stdin.
            await asyncio.wait((feeding, target.answer), return_when=asyncio.FIRST_COMPLETED)
            if feeding.done():
                feeding.result()
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        header, _ = await target.answer
    return int(header.get("messages", 0))


class _Input:
    """A connection with the two verbs of a session that a feed uses; hears a refusal while it still sends."""

    def __init__(self, connection: Speaking, *, end: bool) -> None:
        self.answer = asyncio.ensure_future(connection.hear())
        self._connection = connection
        self._last = "end" if end else "done"

    async def __aenter__(self) -> _Input:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.answer.cancel()
        await asyncio.gather(self.answer, return_exceptions=True)

    async def send(self, _name: str, data: RuntimeData) -> None:
        if self.answer.done():
            self.answer.result()
        with contextlib.suppress(ConnectionError):  # the answer says why
            await self._connection.send(data)

    async def end(self, _name: str | None = None) -> None:
        with contextlib.suppress(ConnectionError):
            await self._connection.say({"op": self._last})


async def heard(connection: Speaking) -> AsyncIterator[RuntimeData]:
    """Yield an output's messages until it ends. Raises the session's error."""
    while (frame := await connection.hear())[0]["op"] != "end":
        yield framing.message(*frame)


async def read_output(address: Address, name: str, writer: Writer, count: int | None) -> int:
    """Write an output's messages until it ends, `count` have come, or Ctrl-C; return how many came."""
    received = 0
    with Interrupts(lambda: None) as interrupts:
        async with connect(address, output=name) as connection:
            while count is None or received < count:
                frame = await _next_frame(connection, interrupts)
                if frame is None or frame[0]["op"] == "end":
                    break
                writer.write(framing.message(*frame))
                received += 1
    return received


async def _next_frame(connection: Speaking, interrupts: Interrupts) -> tuple[dict[str, Any], bytes] | None:
    hearing = asyncio.ensure_future(connection.hear())
    asked = asyncio.ensure_future(interrupts.asked.wait())
    try:
        await asyncio.wait((hearing, asked), return_when=asyncio.FIRST_COMPLETED)
        return hearing.result() if hearing.done() else None
    finally:
        hearing.cancel()
        asked.cancel()
        await asyncio.gather(hearing, asked, return_exceptions=True)
