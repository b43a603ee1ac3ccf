"""Starting and ending nodes' processes: the fork, what a child does first, and the end of its whole process group.

Used by the zygote only, in its single thread: a parent-death signal fires when the forking *thread* ends.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from ringline.errors import ProcessSpawnError
from ringline.node.pump import Pump, pipe

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_MOST_DESCRIPTORS: Final = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Child:
    """One incarnation of a node: its process, which leads a group of its own, and its two streams."""

    node: str
    epoch: int
    pid: int
    pumps: tuple[Pump, Pump]
    killed_by_host: bool = False
    started: float = field(default_factory=time.monotonic)

    def signal(self, number: int, *, group: bool) -> None:
        """Send a signal; harmless if the process has ended."""
        if number == signal.SIGKILL:
            self.killed_by_host = True
        try:
            (os.killpg if group else os.kill)(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass


class Forked(BaseException):
    """Raised in a forked child, to leave the zygote's frames before it becomes a node."""


def become_reaper() -> None:
    """Have orphans of nodes come to this process, so that none outlives the session."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def fork(node: str, epoch: int, environ: Mapping[str, str]) -> Child:
    """Fork a node; raises `Forked` in the child. ProcessSpawnError if the kernel refuses."""
    parent = os.getpid()
    with _Streams() as streams:
        try:
            pid = os.fork()
        except OSError as error:
            raise ProcessSpawnError(f"fork failed: {error.strerror}") from None
        if pid == 0:
            _become_child(parent, streams, environ)
            raise Forked
        return streams.child(node, epoch, pid)


def execute(node: str, epoch: int, environ: Mapping[str, str], argv: Sequence[str]) -> Child:
    """Start a node in another interpreter. ProcessSpawnError if it can't be executed."""
    parent = os.getpid()
    with _Streams() as streams:
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=streams.out[1],
                stderr=streams.err[1],
                env=dict(environ),
                start_new_session=True,
                preexec_fn=lambda: _tie(parent),  # noqa: PLW1509  (there is one thread)
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise ProcessSpawnError(f"{argv[0]} can't be executed: {error}") from None
        process.returncode = 0  # this process reaps by itself; Popen is only the way in
        return streams.child(node, epoch, process.pid)


def merged(base: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Give the environment of a node: the zygote's own, changed; a None removes a name."""
    full = {**base, **changes}
    return {name: value for name, value in full.items() if value is not None}


class _Streams:
    """The two pipes of a node that is being started; whatever goes wrong, no end of them stays open."""

    def __enter__(self) -> _Streams:
        self.out = pipe()
        try:
            self.err = pipe()
        except OSError:
            _close(*self.out)
            raise
        self._kept: set[int] = set()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is Forked:
            return  # the child has them as descriptors 1 and 2, and closed the rest
        _close(*({*self.out, *self.err} - self._kept))

    def child(self, node: str, epoch: int, pid: int) -> Child:
        self._kept = {self.out[0], self.err[0]}
        pumps = Pump(self.out[0], node, epoch, "stdout"), Pump(self.err[0], node, epoch, "stderr")
        return Child(node, epoch, pid, pumps)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _tie(parent: int) -> None:
    """Die with the zygote, even if it died before this line."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(137)


def _become_child(parent: int, streams: _Streams, environ: Mapping[str, str]) -> None:
    """Do what makes a fork a process of its own; the zygote's descriptors are closed by `detach`."""
    _tie(parent)
    os.setsid()
    os.dup2(streams.out[1], 1)
    os.dup2(streams.err[1], 2)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    _become_environment(environ)
    time.tzset()
    reseed()


def _become_environment(environ: Mapping[str, str]) -> None:
    """Change only what differs: each change costs copies of pages that were shared with the zygote."""
    for name in [name for name in os.environ if name not in environ]:
        del os.environ[name]
    for name, value in environ.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def detach() -> None:
    """Close every descriptor but the standard ones; the zygote's own objects were closed before."""
    os.closerange(3, _MOST_DESCRIPTORS)


def reseed() -> None:
    """Give the child random numbers of its own; Python's own generator does that by itself."""
    module = sys.modules.get("numpy.random")
    if module is not None:
        module.seed()


def become_node() -> NoReturn:
    """Be a node, in a forked child."""
    from ringline.node.process import run_node

    gc.enable()
    run_node()


def wait_one() -> tuple[int, int, resource.struct_rusage] | None:
    """Reap one dead child, its group killed before its number can be given away; None if none is dead."""
    try:
        info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if info is None:
        return None
    try:
        os.killpg(info.si_pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    pid, status, usage = os.wait4(info.si_pid, 0)
    return pid, status, usage


def orphans() -> list[int]:
    """List this process' children, adopted ones included."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:  # noqa: PTH123  (no path object per look)
            return [int(pid) for pid in file.read().split()]
    except (OSError, ValueError):
        return []


def exit_report(child: Child, status: int, usage: Any, oom: bool | None) -> dict[str, Any]:
    """Give the exit event of a dead node."""
    code = os.waitstatus_to_exitcode(status)
    number = -code if code < 0 else None
    return {
        "ev": "exit",
        "node": child.node,
        "epoch": child.epoch,
        "pid": child.pid,
        "code": 128 + number if number is not None else code,
        "signal": signal.Signals(number).name if number is not None else None,
        "oom": oom,
        "max_rss_bytes": usage.ru_maxrss * 1024,
        "user_s": usage.ru_utime,
        "sys_s": usage.ru_stime,
        "tail": child.pumps[1].last_lines(),
    }
