"""The parent of all nodes of a session: forks them from a warm process, carries their logs, reports their exits, cleans up.

Started by the host with a socket; single-threaded, so that forking is safe and a dead zygote takes its nodes along. It is
also the janitor: when the socket ends, the host is gone, and everything of the session goes with it.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ringline.control import frames
from ringline.errors import ArenaError, ControlError, ProcessSpawnError
from ringline.node import children
from ringline.node.children import Child, Forked
from ringline.node.oom import OomWatch
from ringline.node.preload import preload
from ringline.node.pump import Outlet, Pump
from ringline.shm import LockHold, hold_zygote_lock

_READ_BYTES: Final = 256 << 10
_REAP_PATIENCE_S: Final = 10.0
"""After a SIGKILL a process is gone in milliseconds; one in an uninterruptible wait is left to init."""
_LAST_WORDS_S: Final = 2.0


class Zygote:
    """One session's zygote, from its first command to its end."""

    def __init__(self, sock: socket.socket, directory: Path, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._socket = sock
        self._directory = directory
        self._outlet = Outlet(sock)
        self._decoder = frames.Decoder()
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, Child] = {}
        self._oom = OomWatch()
        self._host_gone = False
        self._ending = False
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._writing = False

    def run(self) -> None:
        """Serve until the host says exit or goes away. Raises `Forked` in each child."""
        self._listen()
        self._outlet.event({"ev": "hello", "pid": os.getpid()})
        while not (self._ending or self._host_gone):
            self._turn(None)
        self.end()

    def _listen(self) -> None:
        self._socket.setblocking(False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._terminated)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        self._selector.register(self._socket, selectors.EVENT_READ, self._ready)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)

    def _terminated(self, *_: object) -> None:
        self._ending = True

    def _turn(self, timeout_s: float | None) -> None:
        """Wait for something and handle it."""
        self._watch_writing()
        for key, _ in self._selector.select(timeout_s):
            now = self._selector.get_map().get(key.fd)
            if now is None or now.data is not key.data:
                continue  # an earlier one of this turn reported an exit and closed this stream
            handler: Callable[[], None] = key.data
            handler()
        if self._outlet.waiting:
            self._write()

    def _watch_writing(self) -> None:
        """Ask to be told when the host reads again, only while something waits for it."""
        if self._host_gone or self._outlet.waiting == self._writing:
            return
        self._writing = self._outlet.waiting
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._writing else 0)
        self._selector.modify(self._socket, events, self._ready)

    def _ready(self) -> None:
        if self._outlet.waiting:
            self._write()
        if not self._host_gone:
            self._readable()

    def _write(self) -> None:
        try:
            self._outlet.write()
        except OSError:
            self._lost()

    def _lost(self) -> None:
        if not self._host_gone:
            self._host_gone = True
            self._selector.unregister(self._socket)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if not self._ending:
                self._lost()
            return
        try:
            for header, _ in self._decoder.feed(data):
                self._command(header)
        except ControlError:
            self._lost()  # a host that writes such a thing has lost its mind, and the stream its frames

    def _woken(self) -> None:
        try:
            while os.read(self._wake_read, 4096):
                pass
        except BlockingIOError:
            pass
        self._reap()

    # Commands.

    def _command(self, header: dict[str, Any]) -> None:
        operation = header.get("op")
        if operation == "spawn":
            self._spawn(header)
        elif operation == "signal":
            self._signal(header)
        elif operation == "exit":
            self._ending = True

    def _spawn(self, header: dict[str, Any]) -> None:
        node, epoch = str(header.get("node")), int(header.get("epoch") or 0)
        label = {"node": node, "epoch": epoch}
        environ = children.merged(self._environ, header.get("env") or {})
        try:
            child = self._start(node, epoch, environ, header.get("argv"))
        except (ProcessSpawnError, OSError) as error:
            self._outlet.event({"ev": "spawn_failed", **label, "error": str(error)})
            return
        self._children[child.pid] = child
        for pump in child.pumps:
            self._selector.register(pump.descriptor, selectors.EVENT_READ, self._pumping(pump))
        self._outlet.event({"ev": "spawned", **label, "pid": child.pid})

    def _start(self, node: str, epoch: int, environ: dict[str, str], argv: list[str] | None) -> Child:
        if argv:
            return children.execute(node, epoch, environ, argv)
        return children.fork(node, epoch, environ)

    def _signal(self, header: dict[str, Any]) -> None:
        for child in self._children.values():
            if (child.node, child.epoch) == (header.get("node"), header.get("epoch")):
                child.signal(int(header["signal"]), group=bool(header.get("group", True)))

    # Streams and exits.

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
        self._outlet.event(children.exit_report(child, status, usage, oom))

    # The end.

    def end(self) -> None:
        """Kill every node and all that came from them, report the exits, and clean up if the host can't."""
        deadline = time.monotonic() + _REAP_PATIENCE_S
        for child in self._children.values():
            child.signal(signal.SIGKILL, group=True)
        while time.monotonic() < deadline:
            left = children.orphans()
            for pid in left:
                _kill(pid)
            if not left and not self._children:
                break
            self._turn(0.05)
            self._reap()
        self._say_goodbye()
        if self._host_gone:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _say_goodbye(self) -> None:
        deadline = time.monotonic() + _LAST_WORDS_S
        while self._outlet.waiting and not self._host_gone and time.monotonic() < deadline:
            self._turn(0.05)

    def abandon(self) -> None:
        """Close what belongs to the zygote, in a forked child."""
        self._selector.close()
        self._socket.detach()
        children.detach()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run_zygote(descriptor: int, directory: Path) -> int:
    """Be the zygote of a session, and in each forked child a node."""
    children.become_reaper()
    environ = dict(os.environ)  # before the settings that only this process' imports need
    preload()
    lock = _lock(directory)
    zygote = Zygote(socket.socket(fileno=descriptor), directory, environ)
    forked = False
    try:
        zygote.run()
    except Forked:
        forked = True
    if forked:  # outside of the handler, so that no author's traceback begins with ours
        zygote.abandon()
        children.become_node()
    if lock is not None:
        lock.release()
    return 0


def _lock(directory: Path) -> LockHold | None:
    """Show the next start that this process may still be cleaning up."""
    try:
        return hold_zygote_lock(directory)
    except (ArenaError, OSError):
        return None  # there is no lock file: a zygote of a test
