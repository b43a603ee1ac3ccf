"""Logging of a node's process: lines on stderr, as text or as JSON lines, which the zygote carries to the host.

Also makes stdout come out line by line: a node's `print` is read by people who watch it.
"""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Mapping
from typing import Any, Final

_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object per record: time, level, logger, message, the labels, and what the caller gave as `extra`."""

    def __init__(self, labels: Mapping[str, Any]) -> None:
        super().__init__()
        self._labels = dict(labels)

    def format(self, record: logging.LogRecord) -> str:
        given = {name: value for name, value in vars(record).items() if name not in _PLAIN}
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._labels,
            **given,
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def configure(log_format: str, labels: Mapping[str, Any], level: int = logging.INFO) -> None:
    """Send all logging of this process to stderr. `log_format`: ``json``, or anything else for text."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(JsonFormatter(labels))
    else:
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=level, force=True)


def line_by_line() -> None:
    """Make stdout and stderr anew, for the descriptors as they are now: flushed at each line, never failing to encode.

    Objects inherited from a zygote remember what its descriptors were (a file, say, whose position they would look up).
    """
    sys.stdout = _stream(1)
    sys.stderr = _stream(2)


def _stream(descriptor: int) -> io.TextIOWrapper:
    binary = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False))
    return io.TextIOWrapper(binary, "utf-8", errors="backslashreplace", line_buffering=True)
