"""What `ringline run` shows while it runs: plain lines, JSON lines, or (see live) a table that renews itself.

The runner calls a view's methods in order: progress…, started, then stats, logs, texts and moments, at last summary.
Logs of nodes go to stderr in the first two, so that stdout stays one thing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from ringline.cli.console import console, counted, human_bytes, human_seconds, one_line, print_json_line, say, table
from ringline.cli.moments import since_speech
from ringline.cli.shapes import (
    ExitLine,
    MomentLine,
    MomentShape,
    NoticeLine,
    ProgressLine,
    StartedLine,
    StatsLine,
    SummaryShape,
    TextLine,
)
from ringline.cli.stats import channel_table

if TYPE_CHECKING:
    from rich.console import Console


RESULTS = {"duration": "ended by --duration"}
"""How results are told to people, where the word itself would puzzle."""


class View(Protocol):
    """Shows a run. None of the methods may block for long or raise."""

    def progress(self, line: ProgressLine) -> None: ...
    def log(self, node: str, line: str) -> None: ...
    def exit(self, line: ExitLine) -> None: ...
    def notice(self, line: NoticeLine) -> None: ...
    def started(self, line: StartedLine) -> None: ...
    def stats(self, line: StatsLine) -> None: ...
    def text(self, line: TextLine) -> None: ...
    def moment(self, line: MomentLine) -> None: ...
    def summary(self, line: SummaryShape) -> None: ...
    def close(self) -> None: ...


class JsonView:
    """One JSON object per line on stdout."""

    def progress(self, line: ProgressLine) -> None:
        say(one_line(line))

    def log(self, node: str, line: str) -> None:
        print_log(node, line)

    def exit(self, line: ExitLine) -> None:
        say(one_line(line))

    def notice(self, line: NoticeLine) -> None:
        say(one_line(line))

    def started(self, line: StartedLine) -> None:
        say(one_line(line))

    def stats(self, line: StatsLine) -> None:
        say(one_line(line))

    def text(self, line: TextLine) -> None:
        say(one_line(line))

    def moment(self, line: MomentLine) -> None:
        say(one_line(line))

    def summary(self, line: SummaryShape) -> None:
        print_json_line(line)

    def close(self) -> None:
        """Nothing is open."""


class PlainView:
    """Lines for a log file or a pipe: no cursor movement, no statistics before the end."""

    def progress(self, line: ProgressLine) -> None:
        say(progress_text(line))

    def log(self, node: str, line: str) -> None:
        print_log(node, line)

    def exit(self, line: ExitLine) -> None:
        say(exit_text(line))

    def notice(self, line: NoticeLine) -> None:
        print(line["message"], file=sys.stderr, flush=True)

    def started(self, line: StartedLine) -> None:
        say(f"session {line['session_id']} runs after {human_seconds(line['seconds'])}")

    def stats(self, line: StatsLine) -> None:
        """Left out: the table at the end has it all."""

    def text(self, line: TextLine) -> None:
        say(f"{line['output']}: {line['text']}")

    def moment(self, line: MomentLine) -> None:
        say(moment_text(line))

    def summary(self, line: SummaryShape) -> None:
        print_summary(line, console())

    def close(self) -> None:
        """Nothing is open."""


def print_log(node: str, line: str) -> None:
    """Print one line of a node under its name."""
    print(f"{node} | {line}", file=sys.stderr, flush=True)


def progress_text(line: ProgressLine) -> str:
    """Write a step of a node's start."""
    return f"{line['node']}: {line['status']} {line['progress']:.0%} {line['message']}".rstrip()


def exit_text(line: ExitLine) -> str:
    """Write the end of a process; of a crash the whole sentence."""
    text = f"{line['node']}: exited with code {line['exit_code']} ({line['reason']})"
    return text if line["expected"] else f"{text}: {line['message']}"


def moment_text(moment: MomentShape) -> str:
    """Write one moment."""
    detail = f" {moment['detail']!r}" if moment["detail"] else ""
    return f"{moment['at_seconds']:8.3f} s  {moment['what']} ({moment['source']}){detail}"


def print_summary(summary: SummaryShape, out: Console) -> None:
    """Print the end of a run for people: time line, channels, files, result."""
    if summary["moments"]:
        out.print(_timeline(summary))
        out.print()
    if summary["channels"]:
        out.print(channel_table(summary["channels"], title="channels"))
        out.print()
    for name, end in summary["outputs"].items():
        if end["file"] is not None:
            amount = f"{counted(end['messages'], 'message')}, {human_bytes(end['bytes'])}"
            out.print(f"{name} → {end['file']} ({amount})" if end["messages"] else f"{name}: nothing came, no file")
    if summary["error"] is not None:
        # Only its first line: the last lines of a node, which follow in an error, have been shown as they came.
        print(f"error: {summary['error'].partition(chr(10))[0]}", file=sys.stderr, flush=True)
    else:
        result = RESULTS.get(summary["result"], summary["result"])
        out.print(f"{result} after {human_seconds(summary['elapsed_seconds'])}")


def _timeline(summary: SummaryShape) -> object:
    rows = [
        (
            f"{moment['at_seconds']:.3f} s",
            "" if after is None else f"+{after * 1000:.1f} ms",
            moment["what"].replace("_", " "),
            moment["source"],
            moment["detail"],
        )
        for moment, after in since_speech(summary["moments"])
    ]
    return table(("at>", "after end of speech>", "what", "where", ""), rows, title="time line")
