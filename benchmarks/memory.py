"""Memory of an idle node with numpy loaded: its proportional share (PSS), the arena left out.

The arena belongs to the session and is counted once, in the plan. A forked node shares the zygote's pages with its
neighbours, so its share falls with their number; what belongs to it alone is what one more node adds to a session.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.rows import Bar, Row
from benchmarks.sessions import chain, node, running
from benchmarks.spawn import other_interpreter

NODES = 4
"""As many as the voice example has."""
_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ ")


def measure(*, quick: bool) -> Iterator[Row]:
    rounds = 1 if quick else 3
    forked = [memory for _ in range(rounds) for memory in asyncio.run(_idle_nodes(None))]
    yield _row("forked by the zygote: PSS", [memory.shared_out for memory in forked], 8)
    yield _row("forked by the zygote: what one more adds", [memory.own for memory in forked], None)
    other = other_interpreter()
    if other is None:
        yield Row("idle node by its own exec", "MB", skipped="there is no second name of this interpreter")
        return
    executed = [memory for _ in range(rounds) for memory in asyncio.run(_idle_nodes(other))]
    yield _row("by its own exec: PSS", [memory.shared_out for memory in executed], 25)
    yield _row("by its own exec: what one more adds", [memory.own for memory in executed], None)


def _row(name: str, values: list[float], limit_mb: float | None) -> Row:
    bar = Bar(limit_mb, f"{limit_mb:g} MB", "max") if limit_mb is not None else None
    return Row(f"idle node of {NODES} {name}", "MB", values, bar)


class Memory(NamedTuple):
    """In MB (10**6 bytes): the PSS, and the pages that no other process has."""

    shared_out: float
    own: float


async def _idle_nodes(interpreter: Path | None) -> list[Memory]:
    pipeline = chain([node("SyncPass")] * NODES)
    if interpreter is not None:
        pipeline.runtime(python_executable=str(interpreter))
    async with running(pipeline, shm_segment_size=128 << 20) as session:
        await asyncio.sleep(0.5)
        nodes = (await session.get_status()).nodes
        return [memory_of(status.pid, session.directory) for status in nodes.values() if status.pid]


def memory_of(pid: int, session_directory: Path) -> Memory:
    """Add up all mappings but those of the session's files."""
    total = {"Pss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    counted = True
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        name = line.partition(":")[0]
        if _MAPPING.match(line):
            counted = str(session_directory) not in line
        elif counted and name in total:
            total[name] += int(line.split()[1]) * 1024
    return Memory(total["Pss"] / 1e6, (total["Private_Clean"] + total["Private_Dirty"]) / 1e6)
