"""The operator's log lines: JSON with the `extra` fields in a pod, text on a terminal. Called once by `__main__`.

The keys are those of a node's JSON lines (time, level, logger, message, traceback), so that one query finds both.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

JSON: Final = "json"
TEXT: Final = "text"
_KEYS: Final = ("asctime", "levelname", "name", "message")
_OWN: Final = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "traceback"}
_KOPF: Final = ("k8s_skip", "k8s_ref", "settings")
"""What kopf hangs on its records for its own event poster, which is off; one of them is its whole configuration."""


class Lines(JsonFormatter):
    """One JSON object per record."""

    def __init__(self) -> None:
        super().__init__(
            " ".join(f"%({key})s" for key in _KEYS),
            datefmt="%Y-%m-%dT%H:%M:%S%z",
            rename_fields=dict(_OWN),
            rename_fields_keep_missing=False,
            reserved_attrs=[*RESERVED_ATTRS, *_KOPF],
            json_default=str,
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Write the level as nodes do."""
        return {**log_data, "level": str(log_data.get("level", "")).lower()}


class Words(logging.Formatter):
    """A line for people: the message, then what the caller gave as `extra`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        """Add the fields, which stand before a traceback this way."""
        return " ".join([super().formatMessage(record), *(f"{key}={value}" for key, value in fields(record).items())])


def fields(record: logging.LogRecord) -> Mapping[str, Any]:
    """Return what a caller gave as `extra`."""
    plain = {*RESERVED_ATTRS, *_KOPF, "message", "asctime", "taskName"}
    return {key: value for key, value in vars(record).items() if key not in plain}


def configure(log_format: str, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send all logging of this process to `stream` (stderr). `log_format`: ``json``, or anything else for text."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Lines() if log_format == JSON else Words())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # kopf says at INFO what its watches do, aiohttp's server each probe of the kubelet.
    for name in ("kopf", "aiohttp"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
