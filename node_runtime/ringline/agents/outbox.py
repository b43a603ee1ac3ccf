"""Answers of a worker on their way to the pool, several in one message: each message wakes the pool once, whatever it holds.

An answer waits for company as long as the pool said (`linger_s`: little of what a step waits for anyway), and goes at once
when the worker has nothing else to do. One that was left behind by a long step is sent by a thread that sleeps otherwise.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from ringline.agents.stage import Outcome
from ringline.agents.values import pack
from ringline.agents.wire import KINDS, Row, pack_answers
from ringline.data import RuntimeData

HEADROOM: Final = 64 << 10
"""Of a message, for what stands around values."""
LINGER_S: Final = 0.002
"""So long do answers wait for company at least, unless the worker has nothing else to do or the pool wants no batches."""
LONGEST_TEXT: Final = 4096
"""Characters of an error's last line, or of a sentence of progress."""
_PAGE: Final = resource.getpagesize()
_LOOK_AFTER_NS: Final = 50_000_000
"""So long a look at this process' memory is good for."""
_KIND: Final = {kind: number for number, kind in enumerate(KINDS)}


class Memory:
    """How much memory this process holds, looked at now and then."""

    def __init__(self) -> None:
        self._file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._bytes = 0
        self._looked_ns = 0

    def resident_bytes(self, now_ns: int) -> int:
        """Give the bytes, at most 50 ms old."""
        if now_ns - self._looked_ns > _LOOK_AFTER_NS:
            self._looked_ns = now_ns
            self._bytes = int(os.pread(self._file, 200, 0).split()[1]) * _PAGE
        return self._bytes

    def close(self) -> None:
        """Let go of the file; idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Outbox:
    """What is to be told, until `send` is called with it: by whichever thread comes last. `send` may block.

    `hands` says how many steps are done at once here.
    """

    def __init__(
        self, epoch: int, max_bytes: int, send: Callable[[RuntimeData], None], hands: Callable[[], int] = lambda: 1
    ) -> None:
        self.linger_s = LINGER_S
        self._epoch = epoch
        self._max_bytes = max_bytes - HEADROOM
        self._send = send
        self._hands = hands
        self._memory = Memory()
        self._lock = threading.RLock()
        self._size = 0
        self._said: list[list[Any]] = []
        self._rows: list[Row] = []
        self._since_ns = 0
        self._closed = False
        self._left = threading.Event()
        self._sweeper: threading.Thread | None = None

    def outcome(self, step: int, outcome: Outcome, busy_us: int, now_ns: int, *, last: bool) -> None:
        """Answer a step. `last`: nothing follows soon, so it goes now."""
        kind, blob = outcome.kind, outcome.result
        if kind == "done" and len(blob) > self._max_bytes:
            kind = "unsendable"
            text = f"a result of {len(blob)} bytes can't be sent: at most {self._max_bytes}; raise max_message_size"
            outcome = Outcome(kind, error=text)
        if kind != "done":
            blob = pack([outcome.error[:LONGEST_TEXT], outcome.traceback])
        with self._lock:
            if self._size + len(blob) > self._max_bytes:
                self.flush()  # both together would be too large
            if not self._rows:
                self._since_ns = now_ns
            self._rows.append(Row(step, _KIND[kind], min(busy_us, 0xFFFFFFFF), blob))
            self._size += len(blob) + 64
            if last or self._size > self._max_bytes // 2 or now_ns - self._since_ns >= self.linger_s * 1e9:
                self.flush()
            elif not self._left.is_set():
                self._leave()

    def say(self, *row: Any) -> None:
        """Say something else than an outcome, with the next batch."""
        with self._lock:
            self._said.append(list(row))
            self._size += 256 + sum(len(each) for each in row if isinstance(each, str))

    def flush(self) -> None:
        """Send what there is."""
        with self._lock:
            if self._closed or not (self._rows or self._said):
                return
            resident = self._memory.resident_bytes(time.monotonic_ns())
            data = RuntimeData.binary(pack_answers(self._epoch, resident, self._hands(), self._said, self._rows))
            self._said, self._rows, self._size = [], [], 0
            self._send(data)

    def close(self) -> None:
        """Send nothing any more, and let go of its file; idempotent."""
        with self._lock:
            self._closed = True
            self._memory.close()
            self._left.set()

    def _leave(self) -> None:
        """Have an answer sent in time that no later one takes along; with the lock."""
        if self._sweeper is None:
            self._sweeper = threading.Thread(target=self._sweep, name="agents-answers", daemon=True)
            self._sweeper.start()
        self._left.set()

    def _sweep(self) -> None:
        while True:
            self._left.wait()
            time.sleep(2 * max(LINGER_S, self.linger_s))
            with self._lock:
                if self._closed:
                    return
                if not self._rows:
                    self._left.clear()
                elif time.monotonic_ns() - self._since_ns > self.linger_s * 1e9:
                    self.flush()
