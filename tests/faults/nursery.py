"""Forks the processes of the kill scene from one warm interpreter; `kills.py` starts one for each scene.

A new interpreter takes a tenth of a second of CPU and its life in the scene a hundredth. Everything is imported here but the
extension, which reads its failpoint when it is loaded: so each child loads it for itself. The nursery never attaches to the arena.

Run as ``python -S nursery.py`` it reads a request a line (`spawn DIRECTORY ROLE FAILPOINT`, `poll PID`, `wait PID`) and answers each
with a line: a process id, or the exit code (`-` while it runs). It ends, and its children with it, when its input does.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

NO_FAILPOINT = "none"


class Nursery:
    """The killer's side: asks for processes, and for how they ended."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", __file__],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def spawn(self, directory: Path, role: str, failpoint: str) -> Child:
        return Child(self, int(self.ask(f"spawn {directory} {role} {failpoint or NO_FAILPOINT}")))

    def ask(self, request: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(request + "\n")
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End it and what it started. May be repeated."""
        self._process.communicate()


class Child:
    """A process of the nursery, as `subprocess.Popen` shows one. Its id is its own until its end was asked for."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        return self._end("poll")

    def wait(self) -> int:
        code = self._end("wait")
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _end(self, how: str) -> int | None:
        if self.returncode is None:
            answer = self._nursery.ask(f"{how} {self.pid}")
            self.returncode = None if answer == "-" else int(answer)
        return self.returncode


# ---- the nursery's own side ----


def spawn(directory: str, role: str, failpoint: str) -> int:
    """Fork a process that does what `kill_actor.py` does; return its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ["RINGLINE_FAILPOINT"] = "" if failpoint == NO_FAILPOINT else failpoint
        import kill_actor  # type: ignore[import-not-found]  # beside this file

        kill_actor.main(Path(directory), role)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(pid: int, options: int) -> str:
    found, status = os.waitpid(pid, options)
    return str(os.waitstatus_to_exitcode(status)) if found else "-"


def warm() -> None:
    """Import what the children need, except the extension."""
    for name in ("mmap", "random", "zlib", "ringline.graph.layout", "ringline.names"):
        importlib.import_module(name)
    if "ringline.shm" in sys.modules:
        raise ImportError("each child must load the extension itself: it reads its failpoint then")


def serve() -> None:
    """Answer until the input ends."""
    living: set[int] = set()
    for line in sys.stdin:
        verb, *words = line.split()
        if verb == "spawn":
            answer = str(spawn(*words))
            living.add(int(answer))
        else:
            answer = ended(int(words[0]), os.WNOHANG if verb == "poll" else 0)
            if answer != "-":
                living.discard(int(words[0]))
        print(answer, flush=True)
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    warm()
    serve()
