"""The renewing table of `ringline run` on a terminal: nodes while they start, then channels with their rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringline.cli.console import console, human_seconds
from ringline.cli.shapes import (
    ExitLine,
    MomentLine,
    NodeShape,
    NoticeLine,
    ProgressLine,
    StartedLine,
    StatsLine,
    SummaryShape,
    TextLine,
)
from ringline.cli.stats import Rates, channel_table, node_table
from ringline.cli.views import exit_text, moment_text, print_summary

if TYPE_CHECKING:
    from rich.console import RenderableType


class LiveView:
    """Draws with rich; lines (logs, texts, moments) scroll above the table."""

    def __init__(self, title: str) -> None:
        from rich.live import Live

        self._title = title
        self._out = console()
        self._nodes: dict[str, NodeShape] = {}
        self._stats: StatsLine | None = None
        self._rates = Rates()
        self._live = Live(console=self._out, auto_refresh=False, transient=True, redirect_stdout=False)
        self._live.start()

    def progress(self, line: ProgressLine) -> None:
        self._nodes[line["node"]] = NodeShape(
            state=line["status"],
            pid=None,
            epoch=0,
            restarts=0,
            progress=line["progress"],
            message=line["message"],
            exit_code=None,
            reason=None,
        )
        self._draw()

    def log(self, node: str, line: str) -> None:
        self._say(f"{node} | {line}")

    def exit(self, line: ExitLine) -> None:
        if not line["expected"]:
            self._say(exit_text(line))

    def notice(self, line: NoticeLine) -> None:
        self._say(line["message"])

    def started(self, line: StartedLine) -> None:
        self._say(f"session {line['session_id']} runs after {human_seconds(line['seconds'])}")

    def stats(self, line: StatsLine) -> None:
        self._stats = line
        self._nodes = dict(line["nodes"])
        self._draw()

    def text(self, line: TextLine) -> None:
        self._say(f"{line['output']}: {line['text']}")

    def moment(self, line: MomentLine) -> None:
        self._say(moment_text(line))

    def summary(self, line: SummaryShape) -> None:
        self.close()
        print_summary(line, self._out)

    def close(self) -> None:
        """Take the table away and give the terminal back as it was."""
        self._live.stop()

    def _say(self, text: str) -> None:
        from rich.text import Text

        self._live.console.print(Text(text))

    def _draw(self) -> None:
        self._live.update(self._picture(), refresh=True)

    def _picture(self) -> RenderableType:
        from rich.console import Group

        parts: list[RenderableType] = [node_table(self._nodes, title=self._title)]
        if self._stats is not None:
            channels = self._stats["channels"]
            parts.append(channel_table(channels, self._rates.of(channels)))
            parts.append(f"{self._stats['elapsed_seconds']:.0f} s · Ctrl-C ends it")
        return Group(*parts)
