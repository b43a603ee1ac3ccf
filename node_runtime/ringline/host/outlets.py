"""The session's outputs, read by one task each and handed to whoever listens: a file, a client, both or nobody.

Used by the ingress and by `ringline run`. An output that nobody listens to is read all the same, so that it never holds
up the graph.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from ringline.data import RuntimeData
from ringline.errors import RinglineError, SessionError

Listener = Callable[[RuntimeData | None], Awaitable[None]]
"""Takes each message, then None at the end. A slow one holds up the output, as a slow reader does."""


class Source(Protocol):
    """What outlets need of a session."""

    async def receive(self, node_id: str, *, timeout: float | None = None) -> RuntimeData:
        """Return the next message of an output; raise `EndOfStream` at its end."""


class Outlet:
    """One output: counts its messages and hands them to its listeners, in order."""

    def __init__(self, session: Source, name: str) -> None:
        self.name = name
        self.messages = 0
        self.bytes = 0
        self._session = session
        self._listeners: list[Listener] = []
        self._ended = False

    async def listen(self, listener: Listener) -> None:
        """Hand every message from now on to `listener`; None at once if the output has ended."""
        if self._ended:
            await listener(None)
        else:
            self._listeners.append(listener)

    def leave(self, listener: Listener) -> None:
        """Stop handing messages to `listener`; harmless when it has left already."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    async def pump(self) -> None:
        """Read the output until it ends; run this as a task. Raises what a listener raises."""
        try:
            while (data := await self._next()) is not None:
                await self._hand_out(data)
        finally:
            self._ended = True
            await self._tell(None)

    async def _next(self) -> RuntimeData | None:
        try:
            return await self._session.receive(self.name)
        except RinglineError:
            return None  # its end, or the session's, whose own error `wait` raises

    async def _hand_out(self, data: RuntimeData) -> None:
        self.messages += 1
        self.bytes += data.size()
        try:
            await self._tell(data)
        finally:
            data.release()

    async def _tell(self, data: RuntimeData | None) -> None:
        for listener in tuple(self._listeners):
            await listener(data)


class Outlets:
    """All outputs of a session; `async with` reads them."""

    def __init__(self, session: Source, names: Iterable[str]) -> None:
        self.by_name = {name: Outlet(session, name) for name in names}
        self._tasks: list[asyncio.Task[None]] = []

    def get(self, name: str) -> Outlet:
        """Return an output by name; `SessionError` names those that exist."""
        if name not in self.by_name:
            listed = ", ".join(self.by_name) or "none"
            raise SessionError(f"the session has no output {name!r} (it has: {listed})")
        return self.by_name[name]

    async def __aenter__(self) -> Outlets:
        self._tasks = [
            asyncio.create_task(outlet.pump(), name=f"outlet-{name}") for name, outlet in self.by_name.items()
        ]
        return self

    async def finished(self) -> None:
        """Wait until every output has ended; raise what a listener raised."""
        await asyncio.gather(*self._tasks)

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
