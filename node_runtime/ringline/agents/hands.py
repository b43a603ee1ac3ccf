"""Threads that do steps of many agents: one step of an agent at a time, and no more steps at once than there is room for.

The executors thread (`local`) and hybrid (`worker`) use it. Threads that all compute only take Python's lock from each other, at every
call that lets go of it. So one works at first; whenever somebody who asks for the processor and the lock gets both at once, there
is room for another, and where nothing ends for a while another may be what it waits for.
"""

from __future__ import annotations

import heapq
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
_STUCK_S: Final = 0.05
"""After so long without the end of a step another one is begun in any case."""


def allowed_now(allowed: int, most: int, *, prompt: bool, stuck: bool) -> int:
    """Say how many may work at once: more by half when there is room or nothing moves, fewer by a quarter when there is none."""
    if prompt or stuck:
        return min(most, allowed + max(1, allowed // 2))
    return max(1, allowed - max(1, allowed // 4))


class Hands(Generic[Item]):
    """`work(item, number)` runs in one of `most` threads, which are started when they are first needed; `number` is 0 to most - 1."""

    def __init__(self, most: int, work: Callable[[Item, int], None]) -> None:
        self._most = most
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
            if self._active < self._allowed:
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
                if self._ready and self._active <= self._allowed:
                    busy = True
                    agent = heapq.heappop(self._ready)[1]
                    item = heapq.heappop(self._lines[agent])[1]
                else:
                    self._active -= 1
                    self._idle.append(bed)
            if busy:
                self._work(item, number)
                del item
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
                asleep = time.monotonic()
                time.sleep(pause)
                now = time.monotonic()
                if self._ended != ended:
                    ended, moved = self._ended, now
                prompt = now - asleep - pause < _PROMPT_S
                pause = _LOOK_S if prompt else min(_LONGEST_LOOK_S, 2 * pause)
                self._allow(prompt=prompt, stuck=now - moved > _STUCK_S)
            if self._closed:
                return

    def _goes_on(self) -> bool:
        with self._lock:
            if self._ready and not self._closed:
                return True
            self._watching = False
            if not self._closed:
                self._news.clear()
            return False

    def _allow(self, *, prompt: bool, stuck: bool) -> None:
        with self._lock:
            if self._active < self._allowed and (prompt or stuck):
                return  # those who may work do not all find something to do
            self._allowed = allowed_now(self._allowed, self._most, prompt=prompt, stuck=stuck)
            for _ in range(min(self._allowed - self._active, len(self._ready))):
                self._call_one()
