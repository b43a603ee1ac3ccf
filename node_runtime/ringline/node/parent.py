"""What every zygote is: the single-threaded parent of nodes, which carries their logs and reaps what dies.

`zygote` (the parent of all nodes of a local session) and `pod` (process 1 of a node's container) add where the orders come
from and where the reports go. One thread only: forking is safe then, and a parent-death signal means this process' death.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ringline.node import children
from ringline.node.children import Child
from ringline.node.oom import OomWatch
from ringline.node.pump import Outlet, Pump


class Parent:
    """A loop over descriptors, the living children, and their two streams each.

    `outlet` takes the lines; `on_exit(child, report)` is called for each child that has ended.
    """

    def __init__(
        self, outlet: Outlet, environ: Mapping[str, str], on_exit: Callable[[Child, dict[str, Any]], None]
    ) -> None:
        self._environ = dict(environ)
        self._on_exit = on_exit
        self._outlet = outlet
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, Child] = {}
        self._oom = OomWatch()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def _listen(self, terminated: Callable[[], None]) -> None:
        """Have signals wake the loop; SIGTERM calls `terminated`, those of a terminal are not for this process."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: terminated())
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)

    def _handle(self, timeout_s: float | None) -> None:
        """Wait for something and handle it."""
        for key, _ in self._selector.select(timeout_s):
            now = self._selector.get_map().get(key.fd)
            if now is None or now.data is not key.data:
                continue  # an earlier one of this turn reported an exit and closed this stream
            handler: Callable[[], None] = key.data
            handler()

    def _woken(self) -> None:
        try:
            while os.read(self._wake_read, 4096):
                pass
        except BlockingIOError:
            pass
        self._reap()

    def _begin(self, node: str, epoch: int, environ: dict[str, str], argv: Sequence[str] | None) -> Child:
        """Start a node: forked without `argv`. Raises `ProcessSpawnError`, and `Forked` in the child."""
        child = children.execute(node, epoch, environ, argv) if argv else children.fork(node, epoch, environ)
        self._children[child.pid] = child
        for pump in child.pumps:
            self._selector.register(pump.descriptor, selectors.EVENT_READ, self._pumping(pump))
        return child

    def _pumping(self, pump: Pump) -> Callable[[], None]:
        def pumping() -> None:
            if not pump.pump(self._outlet):
                self._selector.unregister(pump.descriptor)

        return pumping

    def _reap(self) -> None:
        while (dead := children.wait_one()) is not None:
            pid, status, usage = dead
            child = self._children.pop(pid, None)
            if child is not None:
                self._report(child, status, usage)

    def _report(self, child: Child, status: int, usage: Any) -> None:
        for pump in child.pumps:
            if pump.descriptor in self._selector.get_map():
                self._selector.unregister(pump.descriptor)
            pump.drain(self._outlet)
        oom: bool | None = False
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and not child.killed_by_host:
            oom = self._oom.killed()
        else:
            self._oom.settle()
        self._on_exit(child, children.exit_report(child, status, usage, oom))

    def _kill_all(self) -> bool:
        """Kill every node and all that came from them; whether nothing of it is left."""
        for child in self._children.values():
            child.signal(signal.SIGKILL, group=True)
        left = children.orphans()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not left and not self._children
