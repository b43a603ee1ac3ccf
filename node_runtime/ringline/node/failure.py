"""What an exception in an author's code is reported as: its last line, the place in the author's file, the traceback.

Used for ERROR events, for stderr, and for modules that can't be imported.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

_OURS: Final = str(Path(__file__).resolve().parents[1])
_LONGEST: Final = 32 << 10
"""Characters of a traceback in an ERROR event, so that it fits a control message; stderr has all of it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One exception in words. `error` is the traceback's last line, `file` and `line` the author's own place."""

    error: str
    file: str
    line: int
    traceback: str

    @property
    def place(self) -> str:
        return f"{self.file}, line {self.line}" if self.file else "no file"

    def payload(self, reason: str, phase: str) -> dict[str, Any]:
        """Give the payload of an ERROR event."""
        text = self.traceback if len(self.traceback) <= _LONGEST else "…\n" + self.traceback[-_LONGEST:]
        return {
            "reason": reason,
            "phase": phase,
            "error": self.error[:2000],
            "file": self.file,
            "line": self.line,
            "traceback": text,
        }


def describe(error: BaseException) -> Failure:
    """Put an exception into words."""
    last = traceback.format_exception_only(error)[-1].strip()
    file, line = _place(error)
    return Failure(last, file, line, "".join(traceback.format_exception(error)))


def _place(error: BaseException) -> tuple[str, int]:
    """Find the innermost frame that is not Ringline's own (nor the import system's), else the innermost."""
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno or 0
    frames = _frames(error.__traceback__)
    theirs = [frame for frame in frames if not frame[0].startswith(("<frozen", _OURS + "/node/"))]
    return (theirs or frames or [("", 0)])[-1]


def _frames(step: TracebackType | None) -> list[tuple[str, int]]:
    found = []
    while step is not None:
        found.append((step.tb_frame.f_code.co_filename, step.tb_lineno))
        step = step.tb_next
    return found
