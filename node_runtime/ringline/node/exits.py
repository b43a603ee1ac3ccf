"""The exit codes of a node's process, which its exit record is read by when no ERROR event came through."""

from __future__ import annotations

from typing import Final

OK: Final = 0
ERROR: Final = 1
FENCED: Final = 70
INIT_TIMEOUT: Final = 71
STALLED: Final = 72
