"""Signals of a node's process: SIGTERM ends it after its cleanup, SIGINT is the application's, a crash leaves its stacks."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from ringline.node.commands import Terminated

NUDGE: Final = signal.SIGURG
"""How the control thread breaks into the main thread. Ignored by default, and hardly used by anything."""


_HANDLED: Final = (signal.SIGTERM, signal.SIGINT, NUDGE)
_ordered: list[int] = []


def ordered_code() -> int | None:
    """Return the exit code with which this process was told to end, or None.

    The order is an exception that may break into anything, an import of native code too, which then fails in a way of
    its own: whoever catches that asks here what really happened.
    """
    return _ordered[-1] if _ordered else None


def _end(code: int) -> NoReturn:
    _ordered.append(code)
    raise Terminated(code)


@contextmanager
def installed(may_break_in: Callable[[], bool]) -> Iterator[None]:
    """Have the handlers for a while, in a process that is not a node's own (a test, an inline session)."""
    _ordered.clear()
    before = [(number, signal.getsignal(number)) for number in _HANDLED]
    install(may_break_in)
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def install(may_break_in: Callable[[], bool]) -> None:
    """Set the handlers, in the main thread. `may_break_in` is asked when nudged."""

    def terminate(_signal: int, _frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough: the cleanup is not to be interrupted
        _end(128 + signal.SIGTERM)

    def nudge(_signal: int, _frame: Any) -> None:
        if may_break_in():
            _end(0)

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the host, which ends its nodes
    signal.signal(NUDGE, nudge)
    faulthandler.enable(file=2)


def break_in() -> None:
    """Ask the main thread, from another one, to look whether it should leave what it is doing."""
    ident = threading.main_thread().ident
    if ident is not None:
        signal.pthread_kill(ident, NUDGE)


def die_by(number: int) -> None:
    """End this process by a signal, so that its exit says what ended it."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
