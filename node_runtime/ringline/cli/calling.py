"""What `ringline run --session` does: feed and record a session that runs already, here or on a cluster.

It is what `running` does for a session of its own, as far as a client can: outputs are opened first, then every input is
fed and ended, and the outputs are written until they end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ringline.cli.client import Speaking, connect, feed_input, heard
from ringline.cli.failure import sentence
from ringline.cli.feeds import Feed
from ringline.cli.interrupts import Interrupts
from ringline.cli.media import Writer, open_writer
from ringline.cli.places import Place
from ringline.cli.reach import Address, reached
from ringline.cli.shapes import EndShape, NoticeLine, StartedLine, SummaryShape
from ringline.cli.views import View
from ringline.errors import DataError, RinglineError

Result = Literal["ended", "interrupted", "duration", "failed"]


@dataclass(frozen=True)
class CallOptions:
    """What the command line asks for: files by session input and output."""

    place: Place
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    duration_s: float | None = None
    realtime: bool = False
    block_ms: float = 20.0


class _Recording:
    """One output's file, and what went into it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.messages = self.bytes = 0
        self._writer: Writer = open_writer(path)

    async def run(self, connection: Speaking) -> None:
        async for data in heard(connection):
            self._writer.write(data)
            self.messages += 1
            self.bytes += data.size()

    def close(self) -> None:
        self._writer.close()

    def shape(self) -> EndShape:
        return EndShape(messages=self.messages, bytes=self.bytes, file=self.path)


async def call(options: CallOptions, view: View) -> SummaryShape:
    """Feed and record until all is over, or it is told to stop; errors of the session end up in the summary."""
    began = running = time.monotonic()
    result: Result = "failed"
    error: str | None = None
    feeds = [Feed(name, path, "any") for name, path in options.inputs.items()]
    recordings = {name: _Recording(path) for name, path in options.outputs.items()}
    try:
        async with reached(options.place) as address, contextlib.AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(connect(address, output=name)) for name in recordings]
            hearing = [each.run(connection) for each, connection in zip(recordings.values(), opened, strict=True)]
            running = time.monotonic()
            view.started(_started(options.place, running - began))
            result = await _until_over(options, view, [*hearing, *_feeding(address, feeds, options)])
    except (RinglineError, OSError) as failure:
        error = sentence(failure)
    finally:
        ended = time.monotonic()
        try:
            with contextlib.ExitStack() as files:
                for recording in recordings.values():
                    files.callback(recording.close)
        except DataError as failure:  # of a file's last bytes; what happened is told all the same
            result, error = "failed", error or sentence(failure)
    inputs = {feed.name: feed.shape() for feed in feeds}
    outputs = {name: recording.shape() for name, recording in recordings.items()}
    return SummaryShape(
        event="summary", session_id=_name(options.place), pipeline="", result=result, exit_code=int(result == "failed"),
        error=error, attempts=1, start_seconds=round(running - began, 6), elapsed_seconds=round(ended - running, 6),
        nodes={}, channels={}, inputs=inputs, outputs=outputs, moments=[],
    )  # fmt: skip


def _feeding(address: Address, feeds: list[Feed], options: CallOptions) -> list[Coroutine[Any, Any, Any]]:
    return [feed_input(address, feed, end=True, realtime=options.realtime, block_ms=options.block_ms) for feed in feeds]


async def _until_over(options: CallOptions, view: View, work: list[Coroutine[Any, Any, Any]]) -> Result:
    """Wait for all inputs and outputs, or for the first reason to stop before."""
    notice = NoticeLine(event="notice", message="leaving the session; it goes on without us")
    with Interrupts(lambda: view.notice(notice)) as interrupts:
        tasks = [asyncio.create_task(each) for each in work]
        over = asyncio.gather(*tasks)
        asked = asyncio.create_task(interrupts.asked.wait())
        try:
            await asyncio.wait((over, asked), timeout=options.duration_s, return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                over.result()
                return "ended"
            return "interrupted" if asked.done() else "duration"
        finally:
            # Once one has failed `over` is over too, and cancelling it leaves the others at work.
            for task in (over, *tasks, asked):
                task.cancel()
            await asyncio.gather(over, *tasks, asked, return_exceptions=True)


def _started(place: Place, seconds: float) -> StartedLine:
    return StartedLine(event="started", session_id=_name(place), directory=None, seconds=round(seconds, 6))


def _name(place: Place) -> str:
    return place.session or place.url
