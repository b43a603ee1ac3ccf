"""Message ids that were handled already, so that a command or event that comes twice acts once."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_KEPT: Final = 1024
"""Ten times the high-water mark of the link: what is older can't still be in a queue."""


class Seen:
    """Remembers the last ids, with a bound."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._kept = kept

    def first_time(self, message_id: str) -> bool:
        """Say whether this id is new, and remember it."""
        if message_id in self._ids:
            return False
        self._ids[message_id] = None
        if len(self._ids) > self._kept:
            self._ids.popitem(last=False)
        return True
