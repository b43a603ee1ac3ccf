"""The driver of async nodes: an event loop on which `process` runs, one message after the other, beside the author's own tasks.

`process` is awaited in the main task itself (a task per message would cost more than most messages), so a flush or
cancel that comes while it waits cancels the main task, which catches it and goes on with the next message.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from ringline.control.messages import MessageType
from ringline.data import RuntimeData
from ringline.node.base import SourceNode
from ringline.node.bell import Bell, NodeLoop
from ringline.node.commands import Commands, Terminated
from ringline.node.cycle import Cycle
from ringline.node.drive import Driver, parameters_of
from ringline.node.outputs import each, is_stream
from ringline.node.ports import Attempt, Inbox, Outbox

if TYPE_CHECKING:
    from ringline.shm import Arena

_AT_ONCE: Final = 32
"""Messages handled before other tasks get a turn, if `process` never waited."""


class AsyncDriver(Driver):
    """Drives a node whose `process` (or `produce`) is ``async def``."""

    def __init__(self, commands: Commands, *rest: Any) -> None:
        super().__init__(commands, *rest)
        self._loop = NodeLoop()
        self._main: asyncio.Task[Any] | None = None
        self._bell: Bell | None = None
        self._open = asyncio.Event()
        self._interruptible = False
        self._interrupting = False

    def connect(self, arena: Arena, inbox: Inbox, outbox: Outbox, cycle: Cycle | None = None) -> None:
        super().connect(arena, inbox, outbox, cycle)
        self._bell = Bell(self._loop, arena)

    def call(self, result: Any) -> Any:
        if not inspect.isawaitable(result):
            return result
        return self._complete(result)

    def run(self) -> None:
        self._complete(self._life())

    def close(self) -> None:
        if self._bell is not None:
            self._bell.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def notify(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._noticed)
        except RuntimeError:
            pass  # the loop has closed: the node is leaving already

    def ping(self, answer: Callable[[], None]) -> bool:
        def answered() -> None:
            answer()
            if self._bell is not None:
                self._bell.ring()  # bounds the wait for a neighbour that was stopped just before it rang

        try:
            self._loop.call_soon_threadsafe(answered)
        except RuntimeError:
            return False
        return self._loop.is_running()

    def emit(self, port: str | None, value: Any) -> None:
        if not self.interrupted():
            self._sending().send(value if port is None else {port: value}, None)

    async def emit_async(self, port: str | None, value: Any) -> None:
        await self._open.wait()
        await self._send(value if port is None else {port: value}, None)

    def _complete(self, work: Awaitable[Any]) -> Any:
        """Run to its end; if a signal breaks in, what was interrupted is cancelled before anything else runs."""
        self._main = self._loop.create_task(_finished(work))
        try:
            return self._loop.run_until_complete(self._main)
        except Terminated:
            self._main.cancel()
            self._loop.run_until_complete(asyncio.gather(self._main, return_exceptions=True))
            raise

    def _noticed(self) -> None:
        """Act on new orders; in the loop, while the main task is suspended."""
        commands = self.commands
        if commands.started or commands.shutdown:
            self._open.set()
        if self._interruptible and not self._interrupting and self._main is not None and self._to_interrupt():
            self._interrupting = True
            self._main.cancel()
        if self._bell is not None:
            self._bell.ring()

    def _to_interrupt(self) -> bool:
        """Say whether the work in hand is to be cancelled: a source's generator would not survive it, so not by a flush."""
        if self._source:
            return self.commands.stopping or self.commands.shutdown
        return self.interrupted()

    async def _life(self) -> None:
        await self._open.wait()
        await self._attend()
        source = self._source
        if source is not None:
            await self._produce(source)
        else:
            await self._consume()
            await self._send_all(await self._done(self._node.on_end()), None)
        self._sending().end()

    async def _consume(self) -> None:
        inbox, commands, bell, arena = self._inbox, self.commands, self._bell, self._arena
        assert bell is not None
        handled = 0
        while True:
            if commands.attention:
                await self._attend()
            if arena.flush_generation != self._stamp or commands.cancels != self._cancels:
                self._begin()
                await self._done(self._node.on_flush())
            data = inbox.take()
            if inbox.news:
                await self._tell_ends()
            if data is not None:
                await self._handle(data)
                del data  # its block must not stay taken while this node waits
                handled += 1
                if handled % _AT_ONCE == 0:
                    await asyncio.sleep(0)
            elif self._finished():
                return
            else:
                self._idle()
                inbox.want(True)
                await bell.rest(self._look_again_s)

    async def _tell_ends(self) -> None:
        news = self._inbox.news
        while news:
            self._beat()
            await self._send_all(await self._done(self._node.on_input_end(news.pop(0))), None)
            self._idle()

    async def _handle(self, data: RuntimeData) -> None:
        arena, outbox = self._arena, self._sending()
        outbox.origin = data.origin
        self._busy_since = began = monotonic()
        arena.beat(True)
        self._interruptible = True
        try:
            result = self._node.process(data)
            if inspect.iscoroutine(result):
                result = await result
            if result is not None:
                await self._send_all(result, data)
        except asyncio.CancelledError:
            if not self._resumed():
                raise
        finally:
            self._interruptible = False
        arena.observe(monotonic() - began)
        if outbox.has_loans:
            outbox.forget_loans()

    def _resumed(self) -> bool:
        """Say whether a cancel was meant for the work in hand only, and make the task forget it."""
        if not self._interrupting or self._main is None:
            return False
        self._interrupting = False
        self._main.uncancel()
        self._check_shutdown()
        return True

    async def _send_all(self, result: Any, like: RuntimeData | None) -> None:
        if type(result) is RuntimeData or not is_stream(result):
            if result is not None and not self.interrupted():
                await self._send(result, like)
            return
        steps = each(result)
        try:
            async for item in steps:
                if self.interrupted():
                    break
                await self._send(item, like)
                if like is not None:
                    self._beat()
        finally:
            await steps.aclose()
        self._check_shutdown()

    async def _send(self, result: Any, like: RuntimeData | None) -> None:
        if type(result) is RuntimeData:  # nearly always; the general way takes two generators
            alone = self._sending().attempt(None, result)
            if alone is not None and alone.send() is None:
                await self._until_sent(alone)
            return
        for attempt in self._sending().attempts(result, like):
            if attempt.send() is None:
                await self._until_sent(attempt)

    async def _until_sent(self, attempt: Attempt) -> None:
        """Wait for room; the attempt itself drops the message when its channel's block time-out is over."""
        assert self._bell is not None
        patience_s = attempt.writer.block_timeout_s
        try:
            while attempt.send() is None:
                if self._interruptible:
                    self._inbox.want(False)  # nobody takes input now: what waits there must not wake anybody
                await self._bell.wait(patience_s)
        except BaseException:
            attempt.writer.cancel()
            raise

    async def _produce(self, source: SourceNode) -> None:
        result = await self._done(source.produce())
        steps = each(result) if is_stream(result) else _once(result)
        try:
            while not self.commands.stopping:
                if self.commands.attention:
                    await self._attend()
                if self._begin():
                    await self._done(self._node.on_flush())
                if not await self._produce_one(steps):
                    return
        finally:
            await steps.aclose()

    async def _produce_one(self, steps: AsyncGenerator[Any, None]) -> bool:
        """Send the source's next message; returns whether it may have another one."""
        self._interruptible = True
        try:
            item = await anext(steps)
            if not self.interrupted():
                await self._send(item, None)
        except StopAsyncIteration:
            return False
        except asyncio.CancelledError:
            if not self._resumed():
                raise
            return False  # the cancel, which only STOP sends to a source, has ended its generator
        finally:
            self._interruptible = False
        return True

    async def _attend(self) -> None:
        """Carry out what the host ordered."""
        waiting = self.commands.waiting()
        self._check_shutdown()
        if self._begin():
            await self._done(self._node.on_flush())
        for command in waiting:
            if command.type is not MessageType.CONFIG_UPDATE:
                self._answer(command)
                continue
            error: Exception | None = None
            try:
                await self._done(self._node.on_parameters(parameters_of(command)))
            except Exception as refused:
                error = refused
            self._parameters_taken(command, error)

    async def _done(self, result: Any) -> Any:
        return await result if inspect.isawaitable(result) else result


async def _finished(work: Awaitable[Any]) -> Any:
    return await work


async def _once(result: Any) -> AsyncGenerator[Any, None]:
    yield result
