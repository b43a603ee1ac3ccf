"""Ctrl-C and SIGTERM while a session runs: the first asks for a clean end, the second ends it at once.

Called by run, send and recv. Signals are taken by the event loop, so no code of the session is torn in the middle.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """A context manager around the work of one task.

    `asked` is set by the first signal; the second cancels the task that entered, which a session's cleanup understands
    as "kill what is left now". `on_first` is called with the first, to say so.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        self.asked = asyncio.Event()
        self.at_once = False
        self._on_first = on_first
        self._task: asyncio.Task[object] | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.hit)
        return self

    def hit(self) -> None:
        """Count one signal."""
        if not self.asked.is_set():
            self.asked.set()
            self._on_first()
        elif self._task is not None:
            self.at_once = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
