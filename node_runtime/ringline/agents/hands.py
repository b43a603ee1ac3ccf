"""Threads that do steps of many agents: one step of an agent at a time, and no more steps at once than there is room for.

The executors thread (`local`) and hybrid (`worker`) use it. Threads that all compute only take Python's lock from each other, at every
call that lets go of it. So one works at first. There is room for another when those at work do not want a whole processor together, or
when somebody who asks for the processor and the lock gets both at once; where nothing ends for a while, another may be what it waits for.
"""

from __future__ import annotations

import heapq
import math
import os
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, TypeVar

Item = TypeVar("Item")
_LOOK_S: Final = 0.002
_LONGEST_LOOK_S: Final = 0.016
"""Between two looks while there is no room: each takes the lock away from who works."""
_PROMPT_S: Final = 0.0002
"""An idle machine wakes a sleeper 0.1 ms late; one who needs Python's lock from a busy thread waits for longer."""
_WHOLE: Final = 0.9
"""Of a processor: threads that want less in all are waiting for something else now and then."""
_STUCK_S: Final = 0.05
"""After so long without the end of a step another one is begun in any case."""


def allowed_now(allowed: int, most: int, *, room: bool) -> int:
    """Say how many may work at once: more by half when there is room, fewer by a quarter when there is none."""
    if room:
        return min(most, allowed + max(1, allowed // 2))
    return max(1, allowed - max(1, allowed // 4))


class Hands(Generic[Item]):
    """`work(item, number)` runs in one of `most` threads, which are started when they are first needed; `number` is 0 to most - 1.

    `short_s`: while work takes longer in the mean, there is always room for another.
    """

    def __init__(self, most: int, work: Callable[[Item, int], None], short_s: float = math.inf) -> None:
        self._most = most
        self._short_s = short_s
        self._mean_s = 0.0
        self._work = work
        self._allowed = 1
        self._active = 0
        self._ended = 0
        self._closed = False
        self._lock = threading.Lock()
        self._lines: dict[Hashable, list[tuple[Any, Item]]] = {}
        self._ready: list[tuple[Any, Hashable]] = []
        self._threads: list[threading.Thread] = []
        self._idle: list[threading.Lock] = []
        self._stats: set[int] = set()
        self._watching = False
        self._news = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def active(self) -> int:
        """How many threads work now."""
        return self._active

    @property
    def alone(self) -> bool:
        """Say, to one who works, whether nobody else does and nothing waits: then nobody will follow it soon."""
        return self._active <= 1 and not self._ready

    @property
    def waiting(self) -> int:
        """How many items are not begun."""
        with self._lock:
            return sum(map(len, self._lines.values()))

    def put(self, agent: Hashable, rank: Any, item: Item) -> None:
        """Have something done after what the agent has to do already; among agents a lower rank goes first. No rank comes twice."""
        with self._lock:
            line = self._lines.get(agent)
            if line is not None:
                heapq.heappush(line, (rank, item))
                return
            if self._closed:
                return
            self._lines[agent] = [(rank, item)]
            heapq.heappush(self._ready, (rank, agent))
            if self._active < (self._allowed if self._mean_s <= self._short_s else self._most):
                self._call_one()
            elif not self._watching:
                self._watch()

    def close(self) -> list[Item]:
        """Let every thread end after what it works at, and give what was not begun; idempotent."""
        with self._lock:
            self._closed = True
            left = [item for line in self._lines.values() for _, item in line]
            self._ready.clear()
            for line in self._lines.values():
                line.clear()
            while self._idle:
                self._active += 1
                self._idle.pop().release()
            self._news.set()
        return left

    def join(self, timeout_s: float) -> None:
        """Wait for the threads, `timeout_s` in all."""
        end = time.monotonic() + timeout_s
        for thread in (*self._threads, *((self._watcher,) if self._watcher else ())):
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))

    def _call_one(self) -> None:
        """Have one thread more work; with the lock."""
        self._active += 1
        if self._idle:
            self._idle.pop().release()
            return
        number = len(self._threads)
        thread = threading.Thread(target=self._serve, args=(number,), name=f"agents-{number}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, number: int) -> None:
        """Be a thread."""
        try:
            stats = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._work_on(number)
            return
        with self._lock:
            self._stats.add(stats)
        try:
            self._work_on(number)
        finally:
            with self._lock:
                self._stats.discard(stats)
            os.close(stats)

    def _work_on(self, number: int) -> None:
        bed = threading.Lock()
        bed.acquire()
        agent: Hashable = None
        busy = False
        while True:
            with self._lock:
                if busy:
                    busy = False
                    self._ended += 1
                    line = self._lines[agent]
                    if line:
                        heapq.heappush(self._ready, (line[0][0], agent))
                    else:
                        del self._lines[agent]
                if self._closed:
                    self._active -= 1
                    return
                if self._ready and (self._active <= self._allowed or self._mean_s > self._short_s):
                    busy = True
                    agent = heapq.heappop(self._ready)[1]
                    item = heapq.heappop(self._lines[agent])[1]
                else:
                    self._active -= 1
                    self._idle.append(bed)
            if busy:
                began = time.monotonic()
                self._work(item, number)
                del item
                self._mean_s += 0.2 * (time.monotonic() - began - self._mean_s)
            else:
                bed.acquire()

    # -- how many at once ------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Begin to look whether there is room for more; with the lock."""
        self._watching = True
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._look, name="agents-watch", daemon=True)
            self._watcher.start()
        self._news.set()

    def _look(self) -> None:
        while True:
            self._news.wait()
            pause, ended, moved = _LOOK_S, -1, time.monotonic()
            while self._goes_on():
                wanted, asleep = self._wanted_s(), time.monotonic()
                time.sleep(pause)
                now = time.monotonic()
                if self._ended != ended:
                    ended, moved = self._ended, now
                prompt = now - asleep - pause < _PROMPT_S
                idle = 0 < self._wanted_s() - wanted < _WHOLE * (now - asleep)
                room = prompt or idle or now - moved > _STUCK_S or self._mean_s > self._short_s
                pause = _LOOK_S if room else min(_LONGEST_LOOK_S, 2 * pause)
                self._allow(room=room)
            if self._closed:
                return

    def _wanted_s(self) -> float:
        """Give the time for which threads were on a processor, or in the queue for one: 0 where the kernel does not tell."""
        wanted = 0
        with self._lock:
            for descriptor in self._stats:
                told = os.pread(descriptor, 100, 0).split()
                wanted += int(told[0]) + int(told[1])
        return wanted / 1e9

    def _goes_on(self) -> bool:
        with self._lock:
            if self._ready and not self._closed:
                return True
            self._watching = False
            if not self._closed:
                self._news.clear()
            return False

    def _allow(self, *, room: bool) -> None:
        with self._lock:
            if self._active < self._allowed and room:
                return  # those who may work do not all find something to do
            self._allowed = allowed_now(self._allowed, self._most, room=room)
            for _ in range(min(self._allowed - self._active, len(self._ready))):
                self._call_one()
