"""Running a session for `ringline run`: start, feed, read, watch, end, and a summary whatever happened.

`execute` repeats attempts as `--restart` says; `Attempt` is one session from its start to its cleanup.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ringline.cli.failure import sentence
from ringline.cli.feeds import Feed
from ringline.cli.interrupts import Interrupts
from ringline.cli.logs import shown_in
from ringline.cli.media import Writer, open_writer
from ringline.cli.moments import Timeline
from ringline.cli.shapes import (
    ChannelShape,
    EndShape,
    MomentLine,
    NodeShape,
    NoticeLine,
    ProgressLine,
    StartedLine,
    StatsLine,
    SummaryShape,
    TextLine,
)
from ringline.cli.stats import channel_shape, node_shape
from ringline.cli.views import View
from ringline.data import RuntimeData
from ringline.errors import DataError, RinglineError
from ringline.graph.model import MediaPipeline
from ringline.host.ingress import Ingress
from ringline.host.outlets import Outlet, Outlets
from ringline.host.restart import RestartHistory, RestartPolicy
from ringline.host.status import Progress
from ringline.session import Session
from ringline.settings import RuntimeConfig

Result = Literal["ended", "interrupted", "duration", "failed"]
Restart = Literal["never", "on-failure", "always"]


@dataclass(frozen=True)
class RunOptions:
    """What the command line asks for. `taps`: session output → port, added for the time line."""

    pipeline: MediaPipeline
    settings: RuntimeConfig
    session_id: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    taps: Mapping[str, str] = field(default_factory=dict)
    timeline: bool = False
    duration_s: float | None = None
    interval_s: float = 1.0
    executor: str | None = None
    metrics_port: int | None = None
    restart: Restart = "never"
    realtime: bool = False
    block_ms: float = 20.0


async def execute(options: RunOptions, view: View) -> SummaryShape:
    """Run the pipeline until it ends, fails for good, or is stopped. Raises only for a wrong pipeline or option."""
    spec = options.pipeline.spec.session
    policy = RestartPolicy(
        spec.max_restarts, spec.backoff_seconds, spec.max_backoff_seconds, spec.restart_window_seconds
    )
    history = RestartHistory(policy)
    attempts = 0
    asked = _notice("ending the session; Ctrl-C again ends it at once")
    with shown_in(view), Interrupts(lambda: view.notice(asked)) as interrupts:
        while True:
            attempts += 1
            summary = await Attempt(options, view, interrupts).run(attempts)
            again = options.restart == "always" or (options.restart == "on-failure" and summary["result"] == "failed")
            if not again or summary["result"] in ("interrupted", "duration"):
                return summary
            delay = history.next_delay(time.monotonic())
            if delay is None:
                return summary
            why = summary["error"] or "it ended"
            view.notice(_notice(f"{why}\nstarting again in {delay:g} s (attempt {attempts + 1})"))
            if await _asked_within(interrupts, delay):
                return summary


def _notice(message: str) -> NoticeLine:
    return NoticeLine(event="notice", message=message)


async def _asked_within(interrupts: Interrupts, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(interrupts.asked.wait(), seconds)
    return interrupts.asked.is_set()


class Attempt:
    """One session, from its start to its cleanup."""

    def __init__(self, options: RunOptions, view: View, interrupts: Interrupts) -> None:
        self._options = options
        self._view = view
        self._interrupts = interrupts
        self._session = Session(
            options.session_id,
            options.pipeline,
            config=options.settings,
            executor=options.executor,
            log_callback=lambda node, _stream, line: view.log(node, line),
            metrics_port=options.metrics_port,
        )
        plan = self._session.plan
        inputs = {plan.input_channel(name).name: path for name, path in options.inputs.items()}
        outputs = {plan.output_channel(name).name: path for name, path in options.outputs.items()}
        self._feeds = [
            Feed(name, inputs[channel], plan.channel(channel).kind)
            for name, channel in plan.inputs.items()
            if channel in inputs
        ]
        self._files = {name: outputs[channel] for name, channel in plan.outputs.items() if channel in outputs}
        self._outlets = Outlets(self._session, plan.outputs)
        self._writers: dict[str, Writer] = {name: open_writer(path) for name, path in self._files.items()}
        self._hidden = {plan.outputs[tap] for tap in options.taps}
        self._timeline = Timeline()
        self._nodes: dict[str, NodeShape] = {}
        self._channels: dict[str, ChannelShape] = {}
        self._shown: dict[str, Progress] = {}
        self._began = self._running = time.monotonic()

    async def run(self, number: int) -> SummaryShape:
        """Run the session once; its errors end up in the summary."""
        result: Result = "failed"
        error: str | None = None
        started = False
        try:
            started = await self._start()
            result = await self._work() if started else "interrupted"
        except (RinglineError, OSError) as failure:
            error = sentence(failure)
        finally:
            ended = time.monotonic()
            try:
                await self._end()
            except DataError as failure:  # of a file's last bytes; what happened is told all the same
                result, error = "failed", error or sentence(failure)
        return self._summary(number, result, error, ended if started else self._running)

    async def _start(self) -> bool:
        """Bring all nodes up; False if Ctrl-C came first."""
        starting = asyncio.create_task(self._session.initialize(self._progress), name="initialize")
        stop = asyncio.create_task(self._interrupts.asked.wait(), name="stop")
        try:
            await asyncio.wait((starting, stop), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not starting.done():
                starting.cancel()
                await asyncio.wait((starting,))
        if starting.cancelled():
            return False
        starting.result()
        self._running = time.monotonic()
        return True

    def _progress(self, progress: Progress) -> None:
        if self._shown.get(progress.node_id) == progress:
            return
        self._shown[progress.node_id] = progress
        self._view.progress(
            ProgressLine(
                event="progress",
                node=progress.node_id,
                status=progress.status,
                progress=progress.progress,
                message=progress.message,
            )
        )

    async def _work(self) -> Result:
        """Start the nodes and wait for the first reason to end."""
        inline = self._session.executor == "inline"
        directory = None if inline else self._session.directory
        seconds = self._running - self._began
        self._view.started(
            StartedLine(
                event="started",
                session_id=self._session.session_id,
                directory=str(directory) if directory else None,
                seconds=round(seconds, 6),
            )
        )
        for name, outlet in self._outlets.by_name.items():
            await outlet.listen(self._listener(name))
        async with contextlib.AsyncExitStack() as stack:
            await self._session.start()
            await stack.enter_async_context(self._outlets)
            if directory is not None:
                await stack.enter_async_context(self._open_ingress(directory, stack))
            result = await self._until_over()
            if result == "ended":
                await self._played_out()
            return result

    async def _played_out(self) -> None:
        """Wait until what came last is written; a reader that does not read is left by Ctrl-C."""
        playing = asyncio.create_task(self._outlets.finished(), name="played-out")
        asked = asyncio.create_task(self._interrupts.asked.wait(), name="asked")
        try:
            await asyncio.wait((playing, asked), return_when=asyncio.FIRST_COMPLETED)
            if playing.done():
                playing.result()
        finally:
            playing.cancel()
            asked.cancel()
            await asyncio.gather(playing, asked, return_exceptions=True)

    def _open_ingress(self, directory: Path, stack: contextlib.AsyncExitStack) -> Ingress:
        inputs = tuple(self._session.plan.inputs)
        ingress = Ingress(
            self._session,
            self._outlets,
            directory,
            inputs=inputs,
            max_message_bytes=self._session.plan.layout.max_message_bytes,
        )
        for feed in self._feeds:
            stack.enter_context(ingress.feeding(feed.name))
        fed = {feed.name for feed in self._feeds}
        for name in inputs:
            if name not in fed:
                session = self._session.session_id
                self._view.notice(_notice(f"input {name} is open: ringline send --session {session} {name} FILE"))
        return ingress

    async def _until_over(self) -> Result:
        reasons: dict[asyncio.Task[Any], Result] = {
            asyncio.create_task(self._session.wait()): "ended",
            asyncio.create_task(self._interrupts.asked.wait()): "interrupted",
        }
        if self._options.duration_s is not None:
            reasons[asyncio.create_task(asyncio.sleep(self._options.duration_s))] = "duration"
        helpers: set[asyncio.Task[Any]] = {asyncio.create_task(self._watch())}
        helpers |= {asyncio.create_task(self._feed(feed)) for feed in self._feeds}
        helpers.add(asyncio.create_task(self._outlets.finished()))
        try:
            while True:
                done, _ = await asyncio.wait({*reasons, *helpers}, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(done, key=lambda task: task not in reasons):
                    task.result()
                    if task in reasons:
                        return reasons[task]
                    helpers.discard(task)
        finally:
            for task in (*reasons, *helpers):
                task.cancel()
            await asyncio.gather(*reasons, *helpers, return_exceptions=True)

    async def _feed(self, feed: Feed) -> None:
        await feed.run(self._session, realtime=self._options.realtime, block_ms=self._options.block_ms)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._options.interval_s)
            await self._collect()
            elapsed = round(time.monotonic() - self._running, 3)
            self._view.stats(
                StatsLine(event="stats", elapsed_seconds=elapsed, nodes=self._nodes, channels=self._channels)
            )

    async def _collect(self) -> None:
        status = await self._session.get_status()
        if status.nodes:
            self._nodes = {name: node_shape(node) for name, node in status.nodes.items()}
        with contextlib.suppress(RinglineError):
            found = await self._session.get_channel_stats()
            self._channels = {name: channel_shape(stats) for name, stats in found.items() if name not in self._hidden}

    def _listener(self, name: str) -> Any:
        tap = self._options.taps.get(name)
        writer = self._writers.get(name)

        async def listen(data: RuntimeData | None) -> None:
            if data is None:
                return
            if self._options.timeline:
                at = time.monotonic() - self._running
                for moment in self._timeline.look(data, tap or name, at, tap=tap is not None):
                    self._view.moment(MomentLine(event="moment", **moment))
            elif writer is None and data.type == "text":
                self._view.text(TextLine(event="output", output=name, text=data.as_text()))
            if writer is not None:
                writer.write(data)

        return listen

    async def _end(self) -> None:
        """Close everything, whatever happened; at once if Ctrl-C came twice."""
        try:
            await self._collect()
        finally:
            await self._close()
        status = await self._session.get_status()
        self._nodes = {name: node_shape(node) for name, node in status.nodes.items()}

    async def _close(self) -> None:
        closing = asyncio.create_task(self._session.cleanup(), name="cleanup")
        try:
            if self._interrupts.at_once:
                await asyncio.sleep(0)
                closing.cancel()
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            closing.cancel()
            await asyncio.wait((closing,))
            raise
        finally:
            with contextlib.ExitStack() as files:
                for writer in self._writers.values():
                    files.callback(writer.close)

    def _summary(self, number: int, result: Result, error: str | None, ended: float) -> SummaryShape:
        options = self._options
        return SummaryShape(
            event="summary",
            session_id=options.session_id,
            pipeline=options.pipeline.metadata.name,
            result=result,
            exit_code=1 if result == "failed" else 0,
            error=error,
            attempts=number,
            start_seconds=round(self._running - self._began, 6),
            elapsed_seconds=round(ended - self._running, 6),
            nodes=self._nodes,
            channels=self._channels,
            inputs={feed.name: feed.shape() for feed in self._feeds},
            outputs={
                name: self._output(outlet) for name, outlet in self._outlets.by_name.items() if name not in options.taps
            },
            moments=self._timeline.moments,
        )

    def _output(self, outlet: Outlet) -> EndShape:
        return EndShape(messages=outlet.messages, bytes=outlet.bytes, file=self._files.get(outlet.name))
