"""Threads that do steps of many agents: one step of an agent at a time, and no more steps at once than `concurrency` allows.

The executors thread (`local`) and hybrid (`worker`) use it.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Final, Generic, NamedTuple, TypeVar

from ringline.agents.concurrency import Limit, Seen

Item = TypeVar("Item")
_NS: Final = 1e-9
_FEW: Final = 2
"""Of so many is asked how long they queue for a processor: each question lets go of Python's lock."""


class _Moment(NamedTuple):
    """Sums since the beginning, in ns: in work, on a processor, in the queue for one; and the age of the oldest work."""

    at_ns: int
    busy_ns: int
    run_ns: int
    queued_ns: int
    oldest_ns: int
    ended: int


class Hands(Generic[Item]):
    """`work(item, number, began_ns)` runs in one of `most` threads, which are started when they are first needed.

    `number` is that of the thread, 0 to most - 1; `began_ns` is of CLOCK_MONOTONIC.
    """

    def __init__(self, most: int, work: Callable[[Item, int, int], None]) -> None:
        self._most = most
        self._work = work
        self._limit = Limit(most)
        self._allowed = most
        self._closed = False
        self._lock = threading.Lock()
        self._lines: dict[Hashable, list[tuple[Any, Item]] | None] = {}
        """What waits for the agents of which something is ready or in work."""
        self._ready: list[tuple[Any, Hashable, Item]] = []
        self._threads: list[threading.Thread] = []
        self._idle: list[tuple[int, threading.Lock]] = []
        self._at_work: set[int] = set()
        self._began_ns = [0] * most
        self._busy_ns = self._ended = 0
        self._clocks: dict[int, int] = {}
        self._stats: dict[int, int] = {}
        self._queued: dict[int, int] = {}
        self._queued_ns = 0
        self._crowded = False
        self._watching = False
        self._news = threading.Event()
        self._over = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def active(self) -> int:
        """How many threads work now."""
        return len(self._at_work)

    @property
    def alone(self) -> bool:
        """Say, to one who works, whether nobody else does and nothing waits: then nobody will follow it soon."""
        return len(self._at_work) <= 1 and not self._ready

    @property
    def watched(self) -> bool:
        """Say whether somebody looks now and then how many should work at once."""
        return self._watching

    @property
    def waiting(self) -> int:
        """How many items are not begun."""
        with self._lock:
            return len(self._ready) + sum(len(line) for line in self._lines.values() if line)

    def put(self, agent: Hashable, rank: Any, item: Item) -> None:
        """Have something done after what the agent has to do already; among agents a lower rank goes first. No rank comes twice."""
        with self._lock:
            if agent in self._lines:
                line = self._lines[agent] or []
                heapq.heappush(line, (rank, item))
                self._lines[agent] = line
                return
            if self._closed:
                return
            self._lines[agent] = None
            heapq.heappush(self._ready, (rank, agent, item))
            active = len(self._at_work)
            if active < self._allowed:
                self._call_one()
            if active and self._most > 1:
                self._crowded = True
                if not self._watching:
                    self._watch()

    def close(self) -> list[Item]:
        """Let every thread end after what it works at, and give what was not begun; idempotent."""
        with self._lock:
            self._closed = True
            left = [item for _, _, item in self._ready]
            left += [item for line in self._lines.values() if line for _, item in line]
            self._ready.clear()
            self._lines = dict.fromkeys(self._lines)
            while self._idle:
                self._wake()
            self._over.set()
            self._news.set()
        return left

    def join(self, timeout_s: float) -> None:
        """Wait for the threads, `timeout_s` in all."""
        end = time.monotonic() + timeout_s
        for thread in (*self._threads, *((self._watcher,) if self._watcher else ())):
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))

    def _wake(self) -> None:
        number, bed = self._idle.pop()
        self._at_work.add(number)
        bed.release()

    def _call_one(self) -> None:
        """Have one thread more work; with the lock."""
        if self._idle:
            self._wake()
            return
        number = len(self._threads)
        thread = threading.Thread(target=self._serve, args=(number,), name=f"agents-{number}", daemon=True)
        self._threads.append(thread)
        self._at_work.add(number)
        thread.start()

    def _serve(self, number: int) -> None:
        """Be a thread."""
        with self._lock, suppress(OSError):
            self._clocks[number] = time.pthread_getcpuclockid(threading.get_ident())
            self._stats[number] = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._work_on(number)
        finally:
            with self._lock:
                self._clocks.pop(number, None)
                stat = self._stats.pop(number, -1)
            if stat >= 0:
                os.close(stat)

    def _work_on(self, number: int) -> None:
        bed = threading.Lock()
        bed.acquire()
        agent: Hashable = None
        busy = False
        began = 0
        while True:
            with self._lock:
                if busy:
                    busy = False
                    self._busy_ns += time.monotonic_ns() - began
                    self._began_ns[number] = 0
                    self._ended += 1
                    line = self._lines[agent]
                    if line:
                        rank, item = heapq.heappop(line)
                        heapq.heappush(self._ready, (rank, agent, item))
                        del item  # which keeps what it holds, should this thread sleep now
                    else:
                        del self._lines[agent]
                if self._closed:
                    self._at_work.discard(number)
                    return
                if self._ready and len(self._at_work) <= self._allowed:
                    busy = True
                    rank, agent, item = heapq.heappop(self._ready)
                    line = self._lines[agent]
                    if line:
                        _, item = heapq.heappushpop(line, (rank, item))
                    self._began_ns[number] = began = time.monotonic_ns()
                else:
                    self._at_work.discard(number)
                    self._idle.append((number, bed))
            if busy:
                self._work(item, number, began)
                del item
            else:
                bed.acquire()

    # -- how many at once ------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Begin to look how many should work at once; with the lock."""
        self._watching = True
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._look, name="agents-watch", daemon=True)
            self._watcher.start()
        self._news.set()

    def _look(self) -> None:
        while True:
            self._news.wait()
            before = self._moment()
            while not self._over.wait(self._limit.pause_s):
                now = self._moment()
                if not self._judged(before, now):
                    break
                before = now
            if self._over.is_set():
                return

    def _moment(self) -> _Moment:
        with self._lock:
            now = time.monotonic_ns()
            begun = [began for began in self._began_ns if began]
            busy_ns = self._busy_ns + sum(now - began for began in begun)
            run_ns = 0
            for clock in self._clocks.values():
                run_ns += time.clock_gettime_ns(clock)
            self._look_at_queues()
            return _Moment(now, busy_ns, run_ns, self._queued_ns, now - min(begun, default=now), self._ended)

    def _look_at_queues(self) -> None:
        """Add up for how long threads have waited for a processor since they were looked at; with the lock."""
        if self._allowed > _FEW:
            self._queued.clear()
            return
        for each in self._at_work:
            if each in self._stats:
                now = int(os.pread(self._stats[each], 100, 0).split()[1])
                self._queued_ns += now - self._queued.get(each, now)
                self._queued[each] = now

    def _judged(self, before: _Moment, now: _Moment) -> bool:
        """Let as many work as the law says; False if there is nothing to be judged any more."""
        with self._lock:
            active = len(self._at_work)
            if not (self._crowded or self._ready or active > 1):
                self._watching = False
                self._news.clear()
                return False
            self._limit.look(
                Seen(
                    wall_s=_NS * (now.at_ns - before.at_ns),
                    busy_s=_NS * (now.busy_ns - before.busy_ns),
                    run_s=_NS * (now.run_ns - before.run_ns),
                    queued_s=_NS * (now.queued_ns - before.queued_ns),
                    oldest_s=_NS * now.oldest_ns,
                    ended=now.ended - before.ended,
                    active=active,
                    crowded=self._crowded,
                )
            )
            self._crowded = False
            self._allowed = self._limit.allowed
            for _ in range(min(self._allowed - active, len(self._ready))):
                self._call_one()
            return True
