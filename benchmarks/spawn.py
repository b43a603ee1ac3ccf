"""A node from the request for its process to ready, beside the bare imports of a node in a process of their own.

Rounds are interleaved: one session whose node is forked by its zygote, one whose node is executed with another interpreter
path, one plain process that imports what every node needs. The node has no model: it passes blocks on.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.rows import Bar, Row, percentile
from benchmarks.sessions import chain, node, running

IMPORTS = "import asyncio, numpy, pydantic, zmq"


def measure(*, quick: bool) -> Iterator[Row]:
    rounds = 2 if quick else 15
    forked: list[float] = []
    executed: list[float] = []
    imports: list[float] = []
    sessions: list[float] = []
    other = other_interpreter()
    for _ in range(rounds):
        forked.append(asyncio.run(_to_ready(None, sessions)))
        if other is not None:
            executed.append(asyncio.run(_to_ready(other, [])))
        imports.append(_bare_imports())
    yield Row(f"bare imports of a node ({IMPORTS.removeprefix('import ')})", "ms", imports)
    yield Row("node forked by the warm zygote, to ready", "ms", forked, Bar(15.0, "15 ms"))
    limit = 1.2 * percentile(imports, 0.5)
    if executed:
        yield Row("node by its own exec, to ready", "ms", executed, Bar(limit, "1.2 x the bare imports"))
    else:
        yield Row("node by its own exec, to ready", "ms", skipped="there is no second name of this interpreter")
    yield Row("whole session of one node: zygote, arena, node, to ready", "ms", sessions)


def other_interpreter() -> Path | None:
    """Another path of the interpreter that runs: nodes that ask for it are executed, not forked."""
    own = Path(sys.executable)
    for name in ("python3", "python", f"python3.{sys.version_info.minor}"):
        candidate = own.with_name(name)
        if candidate != own and candidate.exists():
            return candidate
    return None


async def _to_ready(interpreter: Path | None, sessions: list[float]) -> float:
    times: dict[str, float] = {}

    def note(progress: Any) -> None:
        times.setdefault(progress.status, time.monotonic())

    pipeline = chain([node("SyncPass")])
    if interpreter is not None:
        pipeline.runtime(python_executable=str(interpreter))
    began = time.monotonic()
    async with running(pipeline, progress=note, shm_segment_size=64 << 20):
        sessions.append((time.monotonic() - began) * 1e3)
    return (times["ready"] - times["starting"]) * 1e3


def _bare_imports() -> float:
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", f"{IMPORTS}; print('ready', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        took = (time.monotonic() - began) * 1e3
        process.communicate(b"\n")
    return took
