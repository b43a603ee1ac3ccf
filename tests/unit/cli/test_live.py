"""The renewing table: what it shows at each stage of a run."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest

from ringline.cli.live import LiveView
from ringline.cli.shapes import ChannelShape, NodeShape, NoticeLine, ProgressLine, StartedLine, StatsLine


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "50")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


@pytest.fixture
def view(terminal: Terminal) -> Iterator[LiveView]:
    made = LiveView("voice · session voice-1")
    yield made
    made.close()


def progress(node: str, status: str, fraction: float, message: str = "") -> ProgressLine:
    return ProgressLine(event="progress", node=node, status=status, progress=fraction, message=message)


def stats(messages: int, elapsed: float) -> StatsLine:
    channel = ChannelShape(
        producer="vad",
        consumer="asr",
        messages=messages,
        bytes=960 * messages,
        occupancy=3,
        capacity=16,
        dropped={"overwritten": 2},
        blocked_seconds=0.0,
    )
    node = NodeShape(
        state="running", pid=4711, epoch=1, restarts=0, progress=1.0, message="", exit_code=None, reason=None
    )
    return StatsLine(event="stats", elapsed_seconds=elapsed, nodes={"asr": node}, channels={"vad_to_asr": channel})


def drawn(terminal: Terminal) -> str:
    """Return what was drawn since the last call."""
    text = terminal.getvalue()
    terminal.seek(0)
    terminal.truncate()
    return text


def test_nodes_show_how_far_they_are(view: LiveView, terminal: Terminal) -> None:
    view.progress(progress("asr", "loading", 0.4, "acoustic model"))
    text = drawn(terminal)
    for part in ("voice · session voice-1", "asr", "loading", "40%", "acoustic model"):
        assert part in text
    view.progress(progress("tts", "ready", 1.0))
    text = drawn(terminal)
    assert "40%" in text
    assert "100%" in text


def test_running_shows_channels_with_their_rates(
    view: LiveView, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter((10.0, 12.0))
    monkeypatch.setattr("ringline.cli.stats.time.monotonic", lambda: next(moments))
    view.stats(stats(100, 1.0))
    first = drawn(terminal)
    assert "vad_to_asr" in first
    assert "2 overwritten" in first
    assert "4711" in first
    view.stats(stats(200, 3.0))
    assert " 50 " in drawn(terminal)


def test_lines_scroll_above_the_table(view: LiveView, terminal: Terminal) -> None:
    view.progress(progress("asr", "loading", 0.4))
    drawn(terminal)
    view.log("asr", "[model] loaded")
    view.started(StartedLine(event="started", session_id="voice-1", directory=None, seconds=0.25))
    view.notice(NoticeLine(event="notice", message="ending"))
    text = drawn(terminal)
    order = [text.index(part) for part in ("asr | [model] loaded", "voice-1 runs after 250 ms", "ending")]
    assert order == sorted(order)
    assert text.rindex("40%") > order[-1]


def test_a_node_cannot_steer_the_terminal(view: LiveView, terminal: Terminal) -> None:
    drawn(terminal)
    view.log("asr", "bell \a and \x0b tab")
    assert "\a" not in drawn(terminal)


def test_closing_takes_the_table_away_and_shows_the_cursor(view: LiveView, terminal: Terminal) -> None:
    view.progress(progress("asr", "loading", 0.4))
    drawn(terminal)
    view.close()
    text = drawn(terminal)
    assert "\x1b[2K" in text
    assert text.count("\x1b[?25h") == 1
    view.close()
    assert "\x1b[?25h" not in drawn(terminal)
