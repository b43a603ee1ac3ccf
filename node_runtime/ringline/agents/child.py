"""The node behind a `SpawnedProcessHandle`: loads one agent and runs it for each INPUT message.

Every INPUT is answered under its own id: STREAM_CHUNK for each item if the agent yields, then OUTPUT; or ERROR with the
traceback, after which the process goes on. DONE comes once, when no more input can come.
"""

from __future__ import annotations

import asyncio
import inspect
import logging.config
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from ringline.agents import mail, targets
from ringline.control.messages import Message, MessageType
from ringline.data import RuntimeData
from ringline.errors import DataError
from ringline.node.base import MultiprocessNode


class SpawnedChild(MultiprocessNode):
    """Runs `agent` (``module:Class`` with `arguments`, or ``module:function``); `logging_config` is applied before its import."""

    _work: Callable[..., Any]
    _loop: asyncio.Runner | None = None

    def initialize(self) -> None:
        """Configure logging, then import and make the agent."""
        config = self.config
        if config.get("logging_config"):
            logging.config.dictConfig(config["logging_config"])
        agent = targets.make(config["agent"], config.get("arguments") or {})
        self._work = targets.work_of(agent, config["agent"], config.get("method", ""))

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        """Run the agent once, yielding its messages. Whatever it raises becomes an ERROR message.

        A plain generator, so that an agent may compute for as long as it likes: a blocked event loop would be a stall.
        """
        message = mail.from_data(data)
        if message.type is not MessageType.INPUT:
            return
        try:
            result = self._finished(self._work(message.payload.get("inputs")))
            if inspect.isasyncgen(result) or inspect.isgenerator(result):
                count = 0
                for chunk in self._items(result):
                    yield _told(message, MessageType.STREAM_CHUNK, {"index": count, "chunk": chunk})
                    count += 1
                yield _told(message, MessageType.OUTPUT, {"result": None, "chunks": count})
            else:
                yield _told(message, MessageType.OUTPUT, {"result": result})
        except Exception as error:
            yield _failed(message, error)

    def cleanup(self) -> None:
        """End the event loop of an async agent."""
        if self._loop is not None:
            self._loop.close()

    def _finished(self, result: Any) -> Any:
        return self._runner().run(_awaited(result)) if inspect.isawaitable(result) else result

    def _runner(self) -> asyncio.Runner:
        if self._loop is None:
            self._loop = asyncio.Runner()
        return self._loop

    def _items(self, stream: Any) -> Iterator[Any]:
        if not inspect.isasyncgen(stream):
            yield from stream
            return
        while True:
            try:
                yield self._runner().run(_awaited(anext(stream)))
            except StopAsyncIteration:
                return

    def on_end(self) -> RuntimeData:
        """Say that nothing more will come."""
        return mail.to_data(Message(MessageType.DONE, {"reason": "end_of_stream"}))


def _told(question: Message, kind: MessageType, payload: dict[str, Any]) -> RuntimeData:
    return mail.to_data(question.reply(kind, payload))


def _failed(question: Message, error: Exception) -> RuntimeData:
    reason = "Unsendable" if isinstance(error, DataError) else "Error"
    text = "".join(traceback.format_exception(error))
    return _told(
        question, MessageType.ERROR, {"reason": reason, "error": f"{type(error).__name__}: {error}", "traceback": text}
    )


async def _awaited(result: Any) -> Any:
    return await result
