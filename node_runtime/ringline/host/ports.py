"""The session's own ends of its channels, on asyncio: what `send`, `receive` and `end` do with the host's arena.

The arena's FIFO is watched by the event loop only while somebody waits; a wait rechecks after arming, so no wake-up is lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, TypeVar

from ringline.data import RuntimeData
from ringline.data.codec import decode, encode
from ringline.errors import ChannelFullError, DataError, EndOfStream, SessionError
from ringline.graph.layout import ChannelPlan
from ringline.graph.plan import SessionPlan
from ringline.names import HOST
from ringline.shm import Arena, Reader, Writer

log = logging.getLogger("ringline.host")

_T = TypeVar("_T")
_AT_ONCE: Final = 64
"""Messages that a listener gets from one channel before the others have their turn."""


def channel_full(channel: str, waited_s: float | None) -> ChannelFullError:
    """Make the documented error of a send that found no room."""
    waited = f" after waiting {waited_s:g}s" if waited_s else ""
    return ChannelFullError(
        f"Buffer at capacity (backpressure active): channel '{channel}'{waited}; "
        "increase channel_capacity, speed up its reader, or choose a dropping overflow policy"
    )


class HostPorts:
    """Writers of the session's inputs and readers of its outputs. One event loop only."""

    def __init__(self, arena: Arena, plan: SessionPlan, session_id: str) -> None:
        self._arena = arena
        self._session_id = session_id
        self._loop = asyncio.get_running_loop()
        self._writers: dict[str, Writer] = {}
        self._readers: dict[str, Reader] = {}
        for channel in plan.channels:
            if channel.producer == HOST:
                self._writers[channel.name] = arena.writer([channel.name])
            elif channel.consumer == HOST:
                self._readers[channel.name] = reader = arena.reader(channel.name)
                reader.wanted = False  # what nobody waits for must not keep the bell from being armed
        self._locks = {name: asyncio.Lock() for name in self._writers}
        self._listeners: Counter[str] = Counter()
        self._takers: dict[str, tuple[Reader, ChannelPlan, Callable[[RuntimeData], None]]] = {}
        self._ended: set[str] = set()
        self._waiters: set[asyncio.Future[None]] = set()
        self._failure: BaseException | None = None
        self._armed = self._due = False
        self._loop.add_reader(arena.poll_fd, self._on_bell)

    def fail(self, error: BaseException) -> None:
        """From now on every pending and later operation raises `error`."""
        if self._failure is None:
            self._failure = error
        self._wake_all()

    def close(self) -> None:
        """Stop watching the FIFO; who still waits gets `SessionClosedError` through `fail` before."""
        self._loop.remove_reader(self._arena.poll_fd)
        self._takers.clear()
        self._wake_all()

    async def send(self, channel: ChannelPlan, data: RuntimeData, timeout_s: float | None) -> bool:
        """Put a message into an input; False if the channel's policy dropped it.

        Raises `ChannelFullError` when the time (`timeout_s`, else the channel's block time-out) is over.
        """
        patience = timeout_s
        if patience is None and channel.block_timeout_ms:
            patience = channel.block_timeout_ms / 1000
        attempt = self._attempt(channel, data)
        try:
            async with asyncio.timeout(patience), self._locks[channel.name]:
                try:
                    return await self._until(attempt)
                finally:
                    self._writers[channel.name].cancel()
        except TimeoutError:
            raise channel_full(channel.name, patience) from None

    def try_send(self, channel: ChannelPlan, data: RuntimeData) -> bool:
        """Send without waiting: raises `ChannelFullError` if there is no room now."""
        self._check()
        done = None if self._locks[channel.name].locked() else self._attempt(channel, data)()
        if done is None:
            self._writers[channel.name].cancel()
            raise channel_full(channel.name, None)
        return done

    async def receive(self, channel: ChannelPlan, timeout_s: float | None) -> RuntimeData:
        """Give the next message of an output. Raises `EndOfStream`, or `TimeoutError` after `timeout_s`."""
        reader = self._readers[channel.name]
        self._listeners[channel.name] += 1
        reader.wanted = True
        try:
            async with asyncio.timeout(timeout_s):
                return await self._until(lambda: self._take(reader, channel))
        except TimeoutError:
            raise TimeoutError(f"nothing came from '{channel.name}' within {timeout_s:g}s") from None
        finally:
            self._listeners[channel.name] -= 1
            reader.wanted = self._listeners[channel.name] > 0

    def listen(self, channel: ChannelPlan, take: Callable[[RuntimeData], None]) -> None:
        """Give each message of an output to `take` as it comes, until its stream ends; nobody may `receive` from it then."""
        reader = self._readers[channel.name]
        reader.wanted = True
        self._takers[channel.name] = (reader, channel, take)
        self._serve()

    def hand_out(self, channel: ChannelPlan | None = None) -> int:
        """Give what has come to those who listen, to `channel` or to all, at most some from each; how many."""
        takers = [taker for name, taker in self._takers.items() if channel is None or name == channel.name]
        return sum(self._hand_out(*taker) for taker in takers)

    def end(self, channel: ChannelPlan) -> None:
        """Mark the end of an input's stream; idempotent."""
        if channel.name not in self._ended:
            self._ended.add(channel.name)
            self._writers[channel.name].end()

    def end_all(self) -> None:
        """End every input."""
        for name, writer in self._writers.items():
            if name not in self._ended:
                self._ended.add(name)
                writer.end()

    async def discard(self) -> None:
        """Read and release whatever arrives at the outputs, for ever: while draining nobody else reads them."""
        while True:
            for reader in self._readers.values():
                while (lease := reader.next()) is not None:
                    lease.release()
            await asyncio.sleep(0.005)

    def _attempt(self, channel: ChannelPlan, data: RuntimeData) -> Callable[[], bool | None]:
        if channel.name in self._ended:
            raise SessionError(f"input '{channel.name}' has ended; nothing can be sent any more")
        wire = encode(data)
        writer = self._writers[channel.name]
        timestamp, origin = data.timestamp or 0, data.origin or time.monotonic_ns()
        return lambda: writer.try_send(wire.payload, wire.kind, wire.meta, timestamp, origin)

    def _take(self, reader: Reader, channel: ChannelPlan) -> RuntimeData | None:
        lease = reader.next()
        if lease is None:
            if reader.ended:
                raise EndOfStream(f"output '{channel.name}' has ended")
            return None
        if lease.origin:
            self._arena.observe((time.monotonic_ns() - lease.origin) / 1e9)
        return decode(
            lease.kind,
            lease.meta,
            lease,
            timestamp=lease.timestamp,
            origin=lease.origin,
            sequence=lease.sequence,
            port=channel.producer_port,
            session_id=self._session_id,
        )

    async def _until(self, attempt: Callable[[], _T | None]) -> _T:
        """Repeat the attempt each time the bell rings, until it gives something."""
        while True:
            self._check()
            result = attempt()
            if result is not None:
                return result
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.add(waiter)
            try:
                ready = self._arm()
                result = attempt()  # the recheck after arming: what came in between is seen here
                if result is not None:
                    return result
                if ready:  # perhaps for somebody else: let everyone look again
                    self._wake_all()
                    await asyncio.sleep(0)
                await waiter
            finally:
                self._waiters.discard(waiter)

    def _serve(self) -> None:
        """Serve those who listen and arm the bell again; whoever waits for something else looks for himself.

        While messages keep coming, the others on the loop have their turn between two looks.
        """
        if not self._takers or self._failure is not None:
            return
        given = self.hand_out()
        if not self._arm():
            if not self.hand_out():  # the recheck after arming
                return
        elif not given:
            self._wake_all()
        if not self._due:
            self._due = True
            self._loop.call_soon(self._serve_again)

    def _serve_again(self) -> None:
        self._due = False
        self._serve()

    def _hand_out(self, reader: Reader, channel: ChannelPlan, take: Callable[[RuntimeData], None]) -> int:
        for count in range(_AT_ONCE):
            try:
                data = self._take(reader, channel)
            except EndOfStream:
                reader.wanted = False
                self._takers.pop(channel.name, None)
                return count
            except DataError:  # that one message; those behind it are for the listener all the same
                log.exception("a message of output %s can't be read", channel.name)
                continue
            if data is None:
                return count
            try:
                take(data)
            except Exception:
                log.exception("a listener to output %s failed", channel.name)
        return _AT_ONCE

    def _arm(self) -> bool:
        if not self._armed:
            self._armed = not self._arena.arm()
        return not self._armed

    def _on_bell(self) -> None:
        self._armed = False
        self._arena.disarm()
        self._wake_all()
        self._serve()

    def _wake_all(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
