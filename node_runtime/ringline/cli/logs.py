"""What Ringline itself logs while `ringline run` runs, handed to the view instead of to stderr as it comes.

Every exit of a process is logged as one structured record by `ringline.host.exits`: it becomes the view's own line.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator

from ringline.cli.shapes import ExitLine
from ringline.cli.views import View

ROOT = "ringline"
EXITS = "ringline.exits"


class ViewHandler(logging.Handler):
    """Shows log records in a view."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record; a record that can't be shown is reported by logging's own means."""
        try:
            if record.name == EXITS:
                self._view.exit(_exit_line(record))
            elif record.levelno >= logging.WARNING:
                for line in _lines(record):
                    self._view.log(ROOT, line)
        except Exception:
            self.handleError(record)


def _lines(record: logging.LogRecord) -> list[str]:
    """Return a record's first line, and its traceback if it has one: nodes' last lines have been shown already."""
    first, _, _ = record.getMessage().partition("\n")
    trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
    return [first, *trace.splitlines()]


def _exit_line(record: logging.LogRecord) -> ExitLine:
    assert isinstance(record.args, tuple)
    found = json.loads(str(record.args[0]))
    return ExitLine(
        event="exit",
        node=found["node_id"],
        epoch=found["epoch"],
        pid=found["pid"],
        exit_code=found["exit_code"],
        signal=found["signal"],
        reason=found["reason"],
        expected=found["expected"],
        message=found["message"],
        max_rss_bytes=found["max_rss_bytes"],
        cpu_seconds=round(found["user_s"] + found["sys_s"], 3),
    )


@contextlib.contextmanager
def shown_in(view: View) -> Iterator[None]:
    """Send what the `ringline` loggers say to a view while the context lasts."""
    logger, handler = logging.getLogger(ROOT), ViewHandler(view)
    before = logger.propagate, logger.level
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate, logger.level = before
