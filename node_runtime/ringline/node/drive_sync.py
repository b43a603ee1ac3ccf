"""The driver of plain nodes: the main thread blocks in shared memory and calls `process` directly.

The quickest path: between a neighbour's commit and `process` there is one futex wake-up and no event loop. Lifecycle methods may
still be ``async def``; they run on a loop that lives as long as the node.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Generator
from time import monotonic
from typing import TYPE_CHECKING, Any

from ringline.control.messages import MessageType
from ringline.data import RuntimeData
from ringline.node.base import SourceNode
from ringline.node.commands import Commands
from ringline.node.drive import Driver, parameters_of
from ringline.node.outputs import is_stream

if TYPE_CHECKING:
    import asyncio


class SyncDriver(Driver):
    """Drives a node whose `process` (or `produce`) is a plain function or generator."""

    def __init__(self, commands: Commands, *rest: Any) -> None:
        super().__init__(commands, *rest)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()

    def call(self, result: Any) -> Any:
        if not inspect.isawaitable(result):
            return result
        if self._loop is None:
            import asyncio  # many plain nodes never need it

            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(_finished(result))

    def run(self) -> None:
        self._started.wait()
        self._check_shutdown()
        self._attend()
        source = self._source
        if source is not None:
            self._produce(source)
        else:
            self._consume()
            self._send_all(self.call(self._node.on_end()), None)
        self._sending().end()

    def close(self) -> None:
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def notify(self) -> None:
        if self.commands.started or self.commands.shutdown:
            self._started.set()
        if self._outbox is not None:
            self._arena.wake()

    def emit(self, port: str | None, value: Any) -> None:
        if not self.interrupted():
            self._sending().send(value if port is None else {port: value}, None)
            if self._busy_since:
                # Else a thread of the node's own sends while no message is in work, and nobody would end the beat.
                self._beat()

    async def emit_async(self, port: str | None, value: Any) -> None:
        self.emit(port, value)

    def _consume(self) -> None:
        # Caches are cold when a message comes each 10 ms: what the usual path calls and looks up counts threefold.
        inbox, commands, arena = self._inbox, self.commands, self._arena
        while True:
            if commands.attention:
                self._attend()
            if arena.flush_generation != self._stamp or commands.cancels != self._cancels:
                self._begin()
                self.call(self._node.on_flush())
            data = inbox.take()
            if inbox.news:
                self._tell_ends()
            if data is not None:
                self._handle(data)
                del data  # its block must not stay taken while this node waits
            elif self._finished():
                return
            else:
                self._idle()
                arena.wait(self._look_again_s)

    def _tell_ends(self) -> None:
        news = self._inbox.news
        while news:
            self._beat()
            self._send_all(self.call(self._node.on_input_end(news.pop(0))), None)
            self._idle()

    def _handle(self, data: RuntimeData) -> None:
        arena, outbox = self._arena, self._outbox
        assert outbox is not None
        outbox.origin = data.origin
        self._busy_since = began = monotonic()
        arena.beat(True)
        result = self._node.process(data)
        if type(result) is RuntimeData and not self.commands.attention and arena.flush_generation == self._stamp:
            outbox.send_one(None, result)
        elif result is not None:
            self._send_all(self.call(result), data)
        arena.observe(monotonic() - began)
        if outbox.has_loans:
            outbox.forget_loans()

    def _send_all(self, result: Any, like: RuntimeData | None) -> None:
        if not is_stream(result):
            if result is not None and not self.interrupted():
                self._sending().send(result, like)
            return
        steps = self._steps(result)
        try:
            for item in steps:
                if self.interrupted():
                    break
                self._sending().send(item, like)
                if like is not None:
                    self._beat()
        finally:
            steps.close()
        self._check_shutdown()

    def _steps(self, stream: Any) -> Any:
        """Make a plain generator of an async one, which a plain function may have returned."""
        return self._drained(stream) if inspect.isasyncgen(stream) else stream

    def _drained(self, stream: Any) -> Generator[Any, None, None]:
        try:
            while True:
                try:
                    item = self.call(anext(stream))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self.call(stream.aclose())

    def _produce(self, source: SourceNode) -> None:
        stream = self.call(source.produce())
        if not is_stream(stream):
            self._send_all(stream, None)
            return
        steps = self._steps(stream)
        try:
            while not self.commands.stopping:
                if self.commands.attention:
                    self._attend()
                if self._begin():
                    self.call(self._node.on_flush())
                try:
                    item = next(steps)
                except StopIteration:
                    return
                if not self.interrupted():
                    self._sending().send(item, None)
                    self._idle()
        finally:
            steps.close()

    def _attend(self) -> None:
        """Carry out what the host ordered."""
        waiting = self.commands.waiting()
        self._check_shutdown()
        if self._begin():
            self.call(self._node.on_flush())
        for command in waiting:
            if command.type is not MessageType.CONFIG_UPDATE:
                self._answer(command)
                continue
            error: Exception | None = None
            try:
                self.call(self._node.on_parameters(parameters_of(command)))
            except Exception as refused:
                error = refused
            self._parameters_taken(command, error)


async def _finished(result: Any) -> Any:
    return await result
