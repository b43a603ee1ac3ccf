"""Memory of an idle node with numpy loaded: its proportional share (PSS), the arena left out.

The arena belongs to the session and is counted once, in the plan. A forked node shares the zygote's pages; an executed one
has its own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import Bar, Row
from benchmarks.sessions import chain, node, running
from benchmarks.spawn import other_interpreter

NODES = 3
_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ ")


def measure(*, quick: bool) -> Iterator[Row]:
    rounds = 1 if quick else 3
    forked: list[float] = []
    executed: list[float] = []
    other = other_interpreter()
    for _ in range(rounds):
        forked += asyncio.run(_idle_nodes(None))
        if other is not None:
            executed += asyncio.run(_idle_nodes(other))
    yield Row(f"idle node forked by the zygote, {NODES} in the session", "MB", forked, Bar(8.0, "8 MB", "max"))
    if executed:
        bar = Bar(25.0, "25 MB", "max")
        yield Row(f"idle node by its own exec, {NODES} in the session", "MB", executed, bar)


async def _idle_nodes(interpreter: Path | None) -> list[float]:
    pipeline = chain([node("SyncPass")] * NODES)
    if interpreter is not None:
        pipeline.runtime(python_executable=str(interpreter))
    async with running(pipeline, shm_segment_size=128 << 20) as session:
        await asyncio.sleep(0.5)
        nodes = (await session.get_status()).nodes
        return [pss_mb(status.pid, session.directory) for status in nodes.values() if status.pid]


def pss_mb(pid: int, session_directory: Path) -> float:
    """Add up the PSS of all mappings but those of the session's files, in MB (10**6 bytes)."""
    total, counted = 0, True
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        if _MAPPING.match(line):
            counted = str(session_directory) not in line
        elif counted and line.startswith("Pss:"):
            total += int(line.split()[1])
    return total * 1024 / 1e6
