"""The parent of all nodes of a session: forks them from a warm process, carries their logs, reports their exits, cleans up.

Started by the host with a socket; single-threaded, so that forking is safe and a dead zygote takes its nodes along. It is
also the janitor: when the socket ends, the host is gone, and everything of the session goes with it.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ringline.control import frames
from ringline.errors import ArenaError, ControlError, ProcessSpawnError
from ringline.node import children
from ringline.node.children import Forked
from ringline.node.parent import Parent
from ringline.node.preload import preload
from ringline.node.pump import Outlet
from ringline.shm import LockHold, hold_zygote_lock, home

_READ_BYTES: Final = 256 << 10
_REAP_PATIENCE_S: Final = 10.0
"""After a SIGKILL a process is gone in milliseconds; one in an uninterruptible wait is left to init."""
_LAST_WORDS_S: Final = 2.0


class Zygote(Parent):
    """One session's zygote, from its first command to its end."""

    def __init__(self, sock: socket.socket, directory: Path, environ: Mapping[str, str]) -> None:
        super().__init__(Outlet(sock), environ, lambda _, report: self._outlet.event(report))
        self._socket = sock
        self._directory = directory
        self._decoder = frames.Decoder()
        self._host_gone = False
        self._ending = False
        self._writing = False

    def run(self) -> None:
        """Serve until the host says exit or goes away. Raises `Forked` in each child."""
        self._socket.setblocking(False)
        self._listen(self._terminated)
        self._selector.register(self._socket, selectors.EVENT_READ, self._ready)
        self._outlet.event({"ev": "hello", "pid": os.getpid()})
        while not (self._ending or self._host_gone):
            self._turn(None)
        self.end()

    def _terminated(self) -> None:
        self._ending = True

    def _turn(self, timeout_s: float | None) -> None:
        self._watch_writing()
        self._handle(timeout_s)
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
            child = self._begin(node, epoch, environ, header.get("argv"))
        except (ProcessSpawnError, OSError) as error:
            self._outlet.event({"ev": "spawn_failed", **label, "error": str(error)})
            return
        self._outlet.event({"ev": "spawned", **label, "pid": child.pid})

    def _signal(self, header: dict[str, Any]) -> None:
        for child in self._children.values():
            if (child.node, child.epoch) == (header.get("node"), header.get("epoch")):
                child.signal(int(header["signal"]), group=bool(header.get("group", True)))

    # The end.

    def end(self) -> None:
        """Kill every node and all that came from them, report the exits, and clean up if the host can't."""
        deadline = time.monotonic() + _REAP_PATIENCE_S
        while not self._kill_all() and time.monotonic() < deadline:
            self._turn(0.05)
            self._reap()
        self._say_goodbye()
        if self._host_gone:
            home.remove(self._directory)

    def _say_goodbye(self) -> None:
        deadline = time.monotonic() + _LAST_WORDS_S
        while self._outlet.waiting and not self._host_gone and time.monotonic() < deadline:
            self._turn(0.05)

    def abandon(self) -> None:
        """Close what belongs to the zygote, in a forked child."""
        self._selector.close()
        self._socket.detach()
        children.detach()


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
