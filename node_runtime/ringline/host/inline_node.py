"""One node of an inline session: its life as one task on the application's event loop.

Synchronous `process` runs right on the loop, so that a breakpoint in it stops the whole session. Used by `inline` only.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np

from ringline.data import RuntimeData
from ringline.host.inline_channel import Bell, InlineChannel
from ringline.node.base import MultiprocessNode, SourceNode, create
from ringline.node.outputs import OutputPorts, check_ports, each, is_stream, messages
from ringline.node.registry import resolve
from ringline.node.runner import expected_inputs


class InlineNode:
    """Runs one node; offers it what the runner offers in a process (`emit`, `loan`, `progress`, …)."""

    def __init__(
        self,
        name: str,
        *,
        inputs: Mapping[str, InlineChannel],
        outputs: Mapping[str, Sequence[InlineChannel]],
        bell: Bell,
        session_id: str,
        on_progress: Callable[[str, float, str], None],
    ) -> None:
        self.name = name
        self.session_id = session_id
        self.labels: Mapping[str, Any] = {"session": session_id, "epoch": 1}
        self.flushes = 0
        self.stopping = False
        self._inputs = inputs
        self._outputs = outputs
        self._bell = bell
        self._on_progress = on_progress
        self._begun_at = 0
        self._node: MultiprocessNode | None = None
        self._routes: OutputPorts | None = None

    @property
    def node(self) -> MultiprocessNode:
        assert self._node is not None, "load() comes first"
        return self._node

    async def load(self, node_type: str, config: Mapping[str, Any], **where: Any) -> None:
        """Find the class, make the node and initialize it."""
        self._on_progress("loading", 0.0, "")
        node = create(resolve(node_type, **where), self.name, config)
        inputs = expected_inputs(node, {port: channel.plan for port, channel in self._inputs.items()})
        kinds = {port: channel.kind for port, channel in inputs.items()}
        check_ports(node, kinds, {port: found[0].plan.kind for port, found in self._outputs.items() if found})
        node._attach(self, tuple(self._inputs), tuple(self._outputs))  # noqa: SLF001  (the runner's other half)
        self._node, self._routes = node, OutputPorts(node, tuple(self._outputs))
        await _finished(node.initialize())
        await _finished(node.warmup())
        self._on_progress("ready", 1.0, "")

    async def work(self) -> None:
        """Process until all inputs have ended, then end the outputs."""
        node = self.node
        if isinstance(node, SourceNode):
            await self._gather(node.produce(), None)
        else:
            await self._read()
        await self._gather(node.on_end(), None)
        for channel in self._channels():
            channel.end()

    async def _read(self) -> None:
        told: set[str] = set()
        while True:
            for port in [port for port, channel in self._inputs.items() if channel.over and port not in told]:
                told.add(port)
                await self._gather(self.node.on_input_end(port), None)
            open_inputs = [channel for channel in self._inputs.values() if not channel.over]
            if not open_inputs or (self.node.ends_with_first_input and len(open_inputs) < len(self._inputs)):
                return
            arrived = False
            for channel in open_inputs:
                data = channel.take()
                if data is not None:
                    arrived = True
                    await self._gather(self.node.process(data), data)
                    # One turn of the loop per message: a synchronous node would otherwise starve the others.
                    await asyncio.sleep(0)
            if not arrived:
                await self._bell.wait()

    async def cleanup(self) -> None:
        """Let the node free what it took; nothing if it was never made."""
        if self._node is not None:
            await _finished(self._node.cleanup())

    async def flush(self) -> None:
        """Stop work in flight and let the node forget."""
        self.flushes += 1
        await _finished(self.node.on_flush())

    async def parameters(self, values: dict[str, Any]) -> None:
        """Hand over new parameters."""
        await _finished(self.node.on_parameters(values))

    # Services, as the runner offers them.

    def progress(self, fraction: float, message: str) -> None:
        """Report a step of `initialize`."""
        self._on_progress("loading", fraction, message)

    def emit(self, port: str | None, value: Any) -> None:
        """Send at once. Never waits: nobody could make room while this thread waits."""
        for channel, message in self._routed(value if port is None else {port: value}, None):
            channel.put(channel.wire(message), forced=channel.plan.overflow == "block")

    async def emit_async(self, port: str | None, value: Any) -> None:
        """Send at once; waits for room."""
        await self._send(value if port is None else {port: value}, None)

    def loan(self, shape: int | tuple[int, ...], dtype: Any, port: str | None) -> np.ndarray[Any, Any]:
        """Give plain memory in place of a block."""
        assert self._routes is not None, "load() comes first"
        self._routes.find(port)
        return np.empty(shape, dtype)

    def interrupted(self) -> bool:
        """Whether the work at hand was flushed, or the session stops."""
        return self.flushes != self._begun_at or self.stopping

    def _channels(self) -> list[InlineChannel]:
        return [channel for channels in self._outputs.values() for channel in channels]

    async def _gather(self, result: Any, message: RuntimeData | None) -> None:
        self._begun_at = self.flushes
        if inspect.iscoroutine(result):
            result = await result
        if not is_stream(result):
            await self._send(result, message)
            return
        async with aclosing(each(result)) as items:
            async for item in items:
                if self.interrupted():
                    return
                await self._send(item, message)
                await asyncio.sleep(0)

    async def _send(self, result: Any, like: RuntimeData | None) -> None:
        for channel, message in self._routed(result, like):
            if self.flushes != self._begun_at:
                return
            wire = channel.wire(message)
            while channel.put(wire) is None:
                await self._bell.wait()

    def _routed(self, result: Any, like: RuntimeData | None) -> list[tuple[InlineChannel, RuntimeData]]:
        assert self._routes is not None, "load() comes first"
        routed = []
        for named, message in messages(result, like):
            port = self._routes.find(named)
            routed += [(channel, message) for channel in (self._outputs[port] if port is not None else ())]
        return routed


async def _finished(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result
