"""What kopf would remember of each object, were there change handlers: nothing. `app` gives it to kopf.

kopf copies every object of every event twice to find out what changed since it was handled. The operator has event
handlers only and compares by itself; the copies were a quarter of its CPU time.
"""

from __future__ import annotations

from typing import Any

import kopf


class NoDifferences(kopf.DiffBaseStorage):
    """Neither takes a picture of an object nor keeps one."""

    def build(self, **_: Any) -> Any:
        """Return an empty picture: whatever an object looks like, nothing differs."""
        return {}

    def fetch(self, **_: Any) -> None:
        """Find nothing."""

    def store(self, **_: Any) -> None:
        """Keep nothing."""


class NoProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers: those of events have none."""

    def fetch(self, **_: Any) -> None:
        """Find nothing."""

    def store(self, **_: Any) -> None:
        """Keep nothing."""

    def purge(self, **_: Any) -> None:
        """Take nothing away."""

    def touch(self, **_: Any) -> None:
        """Mark nothing."""

    def clear(self, *, essence: Any) -> Any:
        """Leave a picture as it is."""
        return essence
