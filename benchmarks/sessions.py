"""Sessions for the benchmarks: short to write, quiet, and gone at the end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from ringline import Pipeline, RuntimeConfig, Session

ROOT: Final = Path(__file__).resolve().parent.parent
_numbers = count()


def config(**settings: Any) -> RuntimeConfig:
    """Return the default settings, with the repository on the nodes' path: their classes are in `benchmarks.nodes`."""
    return RuntimeConfig(extra_paths=(str(ROOT),), **settings)


def node(name: str) -> str:
    return f"benchmarks.nodes:{name}"


def chain(kinds: list[str], **settings: Any) -> Pipeline:
    """Connect nodes of these types one behind the other; they are named n0, n1 …"""
    pipeline = Pipeline(name="bench")
    for number, kind in enumerate(kinds):
        pipeline.add_node(kind, f"n{number}", {"index": number, **settings} if kind.startswith("benchmarks.") else {})
    for number in range(len(kinds) - 1):
        pipeline.connect(f"n{number}", "output", f"n{number + 1}", "input")
    return pipeline


@asynccontextmanager
async def running(
    pipeline: Pipeline, *, progress: Callable[[Any], None] | None = None, **settings: Any
) -> AsyncIterator[Session]:
    """Yield a session whose nodes run; what they print is dropped."""
    session = Session(
        f"bench-{os.getpid()}-{next(_numbers)}",
        pipeline,
        config=config(**settings),
        log_callback=lambda *_: None,
        # Else each node would import the main script, and with it what only the benchmarks need.
        script=ROOT / "benchmarks" / "nodes.py",
    )
    try:
        await session.initialize(progress_callback=progress)
        await session.start()
        yield session
    finally:
        await session.cleanup()


def alive(pids: list[int]) -> list[int]:
    """Say which of these processes still exist (a zombie does not: it holds nothing any more)."""
    return [pid for pid in pids if _state(pid) not in ("", "Z")]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
