"""The engine that runs a whole session in this process, on asyncio queues: for breakpoints, profilers and quick tests.

The same semantics of send, receive, flush and end as with processes; what needs processes is not there (crash isolation,
restarts, health checks, memory limits). An exception in a node ends the session as a crash would.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringline.data import RuntimeData
from ringline.errors import EndOfStream, InitTimeout, SessionClosedError, SessionError
from ringline.graph.layout import ChannelPlan
from ringline.graph.plan import NodePlan, SessionPlan
from ringline.host.engine import OnCrash, OnProgress
from ringline.host.exits import ExitRecord, log_exit
from ringline.host.flush import covered
from ringline.host.inline_channel import Bell, InlineChannel
from ringline.host.inline_node import InlineNode
from ringline.host.ports import channel_full
from ringline.host.status import NodeStatus, Progress, SessionMetrics, SessionStatus
from ringline.host.usage import usage
from ringline.metrics.facts import NodeFacts, SessionFacts
from ringline.node.failure import describe
from ringline.shm import ChannelStats, NodeStats

log = logging.getLogger("ringline.host")


class InlineEngine:
    """Runs one session on the event loop in which it was made."""

    def __init__(self, session_id: str, plan: SessionPlan, *, script: Path | None, on_crash: OnCrash) -> None:
        self.session_id = session_id
        self.plan = plan
        self.state = "new"
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._script = script
        self._on_crash = on_crash
        self._on_progress: OnProgress | None = None
        self._progress = {node.name: Progress(node.name, "starting", 0.0) for node in plan.nodes}
        self._failure: BaseException | None = None
        self._bell = Bell()
        largest = plan.layout.max_message_bytes
        self._channels = {c.name: InlineChannel(c, self._bell, session_id, largest) for c in plan.channels}
        self._nodes = {node.name: self._make(node) for node in plan.nodes}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def _make(self, node: NodePlan) -> InlineNode:
        inputs = {port: self._channels[name] for port, name in node.inputs.items()}
        outputs = {port: [self._channels[name] for name in names] for port, names in node.outputs.items()}

        def show(status: str, fraction: float, message: str) -> None:
            self._progress[node.name] = Progress(node.name, status, fraction, message)
            if self._on_progress is not None:
                self._on_progress(self._progress[node.name])

        return InlineNode(
            node.name,
            inputs=inputs,
            outputs=outputs,
            bell=self._bell,
            session_id=self.session_id,
            on_progress=show,
        )

    # -- life ------------------------------------------------------------------------------------------------------

    async def initialize(self, on_progress: OnProgress | None) -> None:
        self.state, self._on_progress = "starting", on_progress
        timeout_s = self.plan.runtime.init_timeout_secs
        for plan in self.plan.nodes:
            where = {"script": self._script, "extra_paths": plan.extra_paths}
            try:
                async with asyncio.timeout(timeout_s):
                    await self._nodes[plan.name].load(plan.type, plan.config, **where)
            except TimeoutError:
                text = f"Node '{plan.name}' failed to initialize within {timeout_s:g}s"
                raise InitTimeout(text, plan.name) from None
        self.state = "ready"

    async def start(self) -> None:
        self._check()
        self.state = "running"
        for name, node in self._nodes.items():
            task = asyncio.get_running_loop().create_task(node.work(), name=f"ringline-inline:{name}")
            self._tasks[name] = task
            task.add_done_callback(lambda done, name=name: self._finished(name, done))  # type: ignore[misc]

    def _finished(self, name: str, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self.state in ("stopping", "closed"):
            return
        error = task.exception()
        if error is not None:
            self._crashed(name, error)
        elif all(each.done() for each in self._tasks.values()) and not self.ended.done():
            self.state = "ended"
            self.ended.set_result(None)

    def _crashed(self, name: str, error: BaseException) -> None:
        found = describe(error)
        record = ExitRecord(
            session_id=self.session_id,
            node_id=name,
            epoch=1,
            pid=os.getpid(),
            exit_code=1,
            signal=None,
            reason="Error",
            message=f"{found.error} ({found.place})",
            expected=False,
        )
        log_exit(record)
        self._on_crash(record)
        if self._failure is None:
            self._failure = record.error()
            self._failure.__cause__ = error
            self.state = "failed"
        if not self.ended.done():
            self.ended.set_exception(self._failure)
            self.ended.exception()
        for task in self._tasks.values():
            task.cancel()
        self._bell.ring()

    def hurry(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def close(self) -> None:
        """Drain within the grace period, clean every node up."""
        drain = self.state in ("running", "ended")
        grace_s = self.plan.runtime.cleanup_grace_period_secs
        self.state = "stopping"
        closed = SessionClosedError(f"session '{self.session_id}' has ended")
        self._failure = self._failure or closed
        self._bell.ring()
        if drain:
            await self._drain(grace_s)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for name, node in self._nodes.items():
            try:
                await node.cleanup()
            except Exception:
                labels = {"session": self.session_id, "node": name, "channel": "", "epoch": 1}
                log.exception("cleanup of node %s raised", name, extra=labels)
        self.state = "closed"
        if not self.ended.done():
            self.ended.set_exception(self._failure)
            self.ended.exception()

    async def _drain(self, grace_s: float) -> None:
        for node in self._nodes.values():
            if not node._inputs:  # noqa: SLF001
                node.stopping = True
        for name in self.plan.inputs.values():
            self._channels[name].end()
        deadline = time.monotonic() + grace_s
        while any(not task.done() for task in self._tasks.values()) and time.monotonic() < deadline:
            for name in self.plan.outputs.values():
                self._channels[name].flush()
            await asyncio.wait(self._tasks.values(), timeout=0.01)

    # -- data and commands -----------------------------------------------------------------------------------------

    async def send(self, channel: ChannelPlan, data: RuntimeData, timeout_s: float | None) -> bool:
        patience = timeout_s
        if patience is None and channel.block_timeout_ms:
            patience = channel.block_timeout_ms / 1000
        target = self._input(channel)
        wire = target.wire(data)
        try:
            async with asyncio.timeout(patience):
                while (done := target.put(wire)) is None:
                    await self._bell.wait()
                    self._check()
        except TimeoutError:
            raise channel_full(channel.name, patience) from None
        return done

    def try_send(self, channel: ChannelPlan, data: RuntimeData) -> bool:
        target = self._input(channel)
        done = target.put(target.wire(data))
        if done is None:
            raise channel_full(channel.name, None)
        return done

    async def receive(self, channel: ChannelPlan, timeout_s: float | None) -> RuntimeData:
        source = self._channels[channel.name]
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    self._check()
                    data = source.take()
                    if data is not None:
                        return data
                    if source.over:
                        raise EndOfStream(f"output '{channel.name}' has ended")
                    await self._bell.wait()
        except TimeoutError:
            raise TimeoutError(f"nothing came from '{channel.name}' within {timeout_s:g}s") from None

    def end(self, channel: ChannelPlan) -> None:
        self._check()
        self._channels[channel.name].end()

    async def flush(self, node: str) -> None:
        self._check()
        nodes, channels = covered(node, self.plan)
        for name in channels:
            self._channels[name].flush()
        for name in nodes:
            await self._nodes[name].flush()

    async def parameters(self, node: str, values: dict[str, Any]) -> None:
        self._check()
        await self._nodes[node].parameters(values)

    # -- what it shows ---------------------------------------------------------------------------------------------

    def status(self) -> SessionStatus:
        nodes = {name: self._node_status(name) for name in self._nodes}
        return SessionStatus(self.session_id, self.state, nodes, str(self._failure or ""))

    def _node_status(self, name: str) -> NodeStatus:
        progress, task = self._progress[name], self._tasks.get(name)
        state = progress.status if task is None else "stopped" if task.done() else self.state
        return NodeStatus(state, os.getpid(), 1, 0, progress.progress, progress.message)

    def metrics(self) -> SessionMetrics:
        return usage({"(this process)": os.getpid()}, 0)

    def channel_stats(self) -> dict[str, ChannelStats]:
        return {name: channel.stats() for name, channel in self._channels.items()}

    def node_stats(self) -> Mapping[str, NodeStats]:
        return {}

    def facts(self) -> SessionFacts:
        return SessionFacts(self.session_id, self.state, 0, {name: NodeFacts(up=True) for name in self._nodes})

    def _input(self, channel: ChannelPlan) -> InlineChannel:
        self._check()
        target = self._channels[channel.name]
        if target.ended:
            raise SessionError(f"input '{channel.name}' has ended; nothing can be sent any more")
        return target

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
