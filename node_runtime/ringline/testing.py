"""Testing a node alone, in the test's own process, without shared memory: `NodeHarness`.

For node authors (and for the nodes in the box): the class is created, initialized and called as in a session, received arrays
are read-only as there, and what it sends comes back as a list. ``ringline new node`` writes a first test with it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from ringline.data import RuntimeData
from ringline.errors import NodeError
from ringline.node.base import MultiprocessNode, SourceNode, create
from ringline.node.outputs import EVERY_NAME, OutputPorts, each, is_stream, messages
from ringline.node.registry import resolve


class Output(NamedTuple):
    """One message that the node sent, and the port that it left by."""

    port: str
    data: RuntimeData


class Progress(NamedTuple):
    """One call of `report_progress`."""

    fraction: float
    message: str


class NodeHarness:
    """Runs one node in this process.

    ::

        async with NodeHarness(Gain, {"db": 6.0}) as gain:
            [output] = await gain.send(RuntimeData.audio(samples, 16000, 1))
            assert output.port == "output"

    `node` is a class or a registered type's name; `inputs` and `outputs` are the connected ports (default: the declared
    ones, or ``input`` and ``output``). `progress_reports` lists what the node reported.
    """

    def __init__(
        self,
        node: type[MultiprocessNode] | str,
        config: Mapping[str, Any] | None = None,
        *,
        node_id: str = "node",
        session_id: str = "harness",
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> None:
        cls = resolve(node) if isinstance(node, str) else node
        self.session_id = session_id
        self.labels: Mapping[str, Any] = {"session": session_id, "epoch": 1}
        self.progress_reports: list[Progress] = []
        self.node = create(cls, node_id, dict(config or {}))
        self._inputs = _ports(inputs, self.node.inputs, "input")
        self._outputs = _ports(outputs, self.node.outputs, "output")
        self._routes = OutputPorts(self.node, self._outputs)
        self._sent: list[Output] = []
        self._arrived = asyncio.Event()
        self._flushes = 0
        self._started_at = 0
        self._sequence = 0
        self._ended: set[str] = set()
        self.node._attach(self, self._inputs, self._outputs)  # noqa: SLF001  (the runner's other half)

    async def __aenter__(self) -> NodeHarness:
        try:
            await _finished(self.node.initialize())
            await _finished(self.node.warmup())
        except BaseException:
            await _finished(self.node.cleanup())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _finished(self.node.cleanup())

    async def send(self, data: Any, port: str | None = None) -> list[Output]:
        """Give the node one message (plain values are coerced); returns what it sent meanwhile, in order."""
        message = self._received(data, port)
        self._started_at = self._flushes
        await self._gather(self.node.process(message), message)
        return self._drain()

    async def end_input(self, port: str) -> list[Output]:
        """End one of the inputs: runs `on_input_end` and returns what it sent."""
        self._started_at = self._flushes
        self._ended.add(port)
        await self._gather(self.node.on_input_end(port), None)
        return self._drain()

    async def end(self) -> list[Output]:
        """End all inputs that have not ended yet: runs `on_input_end` for each, then `on_end`; returns what they sent."""
        sent = [output for port in self._inputs if port not in self._ended for output in await self.end_input(port)]
        self._started_at = self._flushes
        await self._gather(self.node.on_end(), None)
        return sent + self._drain()

    async def flush(self) -> None:
        """Flush as a session does: drops what was not fetched, stops a generator at work, runs `on_flush`."""
        self._flushes += 1
        self._sent.clear()
        await _finished(self.node.on_flush())

    async def parameters(self, **parameters: Any) -> None:
        """Hand over new parameters."""
        await _finished(self.node.on_parameters(parameters))

    async def receive(self, timeout_s: float = 30.0) -> Output:
        """Wait for a message that the node sends by itself (from a background task). TimeoutError if none comes."""
        async with asyncio.timeout(timeout_s):
            while not self._sent:
                self._arrived.clear()
                await self._arrived.wait()
        return self._sent.pop(0)

    async def collect(self, count: int | None = None) -> list[Output]:
        """Give the first `count` messages of a source, or all of a source that ends."""
        found: list[Output] = []
        if count == 0:
            return found
        async with aclosing(self.__aiter__()) as outputs:
            async for output in outputs:
                found.append(output)
                if len(found) == count:
                    break
        return found

    async def __aiter__(self) -> AsyncGenerator[Output, None]:
        """Iterate over what a source produces; the source is closed when the loop is left."""
        if not isinstance(self.node, SourceNode):
            raise NodeError(f"node '{self.node.node_id}' is no SourceNode: use send()")
        self._started_at = self._flushes
        produced = await _finished(self.node.produce())
        async with aclosing(each(produced) if is_stream(produced) else _once(produced)) as items:
            async for item in items:
                self._take(item, None)
                for output in self._drain():
                    yield output

    # Services, as the runner offers them.

    def progress(self, fraction: float, message: str) -> None:
        """Record a report of the node."""
        self.progress_reports.append(Progress(fraction, message))

    def emit(self, port: str | None, value: Any) -> None:
        """Take what the node sends; port names are checked as in a session."""
        self._take(value if port is None else {port: value}, None)

    async def emit_async(self, port: str | None, value: Any) -> None:
        """Take what the node sends."""
        self.emit(port, value)

    def loan(self, shape: int | tuple[int, ...], dtype: Any, port: str | None) -> np.ndarray[Any, Any]:
        """Give plain memory in place of a block."""
        self._routes.find(port)
        return np.empty(shape, dtype)

    def interrupted(self) -> bool:
        """Say whether a flush came since the message in work was given."""
        return self._flushes != self._started_at

    async def _gather(self, result: Any, message: RuntimeData | None) -> None:
        result = await _finished(result)
        if not is_stream(result):
            self._take(result, message)
            return
        async with aclosing(each(result)) as items:
            async for item in items:
                if self.interrupted():
                    break
                self._take(item, message)

    def _take(self, result: Any, like: RuntimeData | None) -> None:
        if self.interrupted() and like is not None:
            return
        for named, data in messages(result, like):
            port = self._routes.find(named)
            if port is not None:
                self._sent.append(Output(port, data))
        self._arrived.set()

    def _drain(self) -> list[Output]:
        sent, self._sent = self._sent, []
        return sent

    def _received(self, value: Any, port: str | None) -> RuntimeData:
        if port is None:
            port = self._inputs[0] if self._inputs else "input"
        elif self._inputs and port not in self._inputs and EVERY_NAME not in (self.node.inputs or {}):
            raise NodeError(
                f"node '{self.node.node_id}' has no input port '{port}' (it has: {', '.join(self._inputs)})"
            )
        data = RuntimeData.coerce(value)
        changes: dict[str, Any] = {"port": port, "sequence": self._sequence}
        if isinstance(data.payload, np.ndarray):
            changes["payload"] = data.payload.view()
            changes["payload"].flags.writeable = False
        self._sequence += 1
        return data.with_(session_id=data.session_id or self.session_id, **changes)


def _ports(given: Sequence[str] | None, declared: Mapping[str, Any] | None, default: str) -> tuple[str, ...]:
    if given is not None:
        return tuple(given)
    if declared is None:
        return (default,)
    return tuple(default if port == EVERY_NAME else port for port in declared)


async def _finished(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


async def _once(result: Any) -> AsyncGenerator[Any, None]:
    yield result
