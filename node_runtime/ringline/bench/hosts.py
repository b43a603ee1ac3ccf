"""Processes of `host` and `server` as `study` sees them: orders and answers, memory and processor time of the whole family."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ringline.errors import RinglineError
from ringline.host import procfs

ONE_THREAD: Final = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""A numerics library that takes all cores for one step would be measured instead of the pool."""

END_S: Final = 20.0
"""What an application has to end by itself, once it is told."""


class HostGoneError(RinglineError):
    """The application under test has ended."""


class Host:
    """One application with one crowd."""

    def __init__(self, spec: str) -> None:
        self._spec = spec
        self._stack = ExitStack()
        # Whoever is killed can't clear up: what an application writes goes with its folder, what it started with its group.
        self.folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="ringline-bench-"))
        log = Path(self.folder, "stderr").open("w+", encoding="utf-8")  # noqa: SIM115  (closed by the stack)
        self._log = self._stack.enter_context(log)
        path = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ringline.bench.host", spec],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": path, "TMPDIR": self.folder},
            start_new_session=True,
        )

    def tell(self, do: str, **details: Any) -> None:
        """Give an order. Raises `HostGoneError`."""
        assert self._process.stdin is not None
        try:
            print(json.dumps({"do": do, **details}), file=self._process.stdin, flush=True)
        except OSError:
            raise self._gone() from None

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to an order. Raises `HostGoneError`."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._gone()
        answered: dict[str, Any] = json.loads(line)
        return answered

    def ask(self, do: str, **details: Any) -> dict[str, Any]:
        """Give an order and wait for its answer."""
        self.tell(do, **details)
        return self.answer()

    def cpu_seconds(self) -> float:
        """Processor time of all its processes that live, so far."""
        return sum(map(_cpu_seconds, procfs.family(self._process.pid)))

    def memory(self) -> tuple[int, int, int]:
        """Give PSS and RSS of all its processes in bytes, and their number."""
        family = procfs.family(self._process.pid)
        used = [procfs.memory(pid) for pid in family]
        return sum(each.pss for each in used), sum(each.rss for each in used), len(family)

    def dismiss(self) -> None:
        """Tell it to end, without waiting; the end of ``with`` waits."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack, self._process:
            self.dismiss()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _gone(self) -> HostGoneError:
        self._process.wait()
        self._log.seek(0)
        lines = self._log.read().strip().splitlines() or ["it said nothing"]
        return HostGoneError(f"the application with '{self._spec}' ended ({self._process.returncode}): {lines[-1]}")


def _cpu_seconds(pid: int) -> float:
    """Sum up the threads' time as the scheduler counts it, in ns; a tick of 10 ms is too coarse for short runs."""
    spent = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError, ValueError):
            spent += int(task.read_text(encoding="ascii").split()[0])
    return spent / 1e9 or procfs.cpu_seconds(pid)


@dataclass(frozen=True, slots=True)
class Service:
    """The WebSocket server that agents ask."""

    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """Processor time of it so far: it runs on the same cores."""
        return _cpu_seconds(self.pid)


@contextmanager
def service() -> Iterator[Service]:
    """Run the WebSocket server that agents ask."""
    command = [sys.executable, "-m", "ringline.bench.server"]
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        with server.stdin:
            yield Service(f"ws://127.0.0.1:{int(server.stdout.readline())}", server.pid)
