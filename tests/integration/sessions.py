"""Sessions for tests: short settings, the node types in `nodes/`, printed lines kept."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ringline import Pipeline, RuntimeConfig, Session

NODES = Path(__file__).parent / "nodes"
_numbers = itertools.count()


def config(**changes: Any) -> RuntimeConfig:
    """Settings that keep a test short; a 16 MiB arena is made in milliseconds."""
    values: dict[str, Any] = {
        "extra_paths": (str(NODES),),
        "max_message_size": 1 << 20,
        "channel_capacity": 16,
        "init_timeout_secs": 60.0,
        "cleanup_grace_period_secs": 5.0,
    }
    return RuntimeConfig(**(values | changes))


def session_id() -> str:
    """A name that no other session of this run has."""
    return f"t{os.getpid()}-{next(_numbers)}"


class Lines(list[tuple[str, str, str]]):
    """What nodes printed: (node, stream, line)."""

    def __call__(self, node: str, stream: str, line: str) -> None:
        self.append((node, stream, line))

    def text(self, node: str | None = None) -> str:
        return "\n".join(line for name, _, line in self if node in (None, name))


def make(pipeline: Pipeline, executor: str | None = None, **changes: Any) -> Session:
    """A session of the pipeline that is not initialized yet."""
    return Session(session_id(), pipeline, config=config(**changes), executor=executor, log_callback=Lines())


@asynccontextmanager
async def running(pipeline: Pipeline, executor: str | None = None, **changes: Any) -> AsyncIterator[Session]:
    """A session that is started, and cleaned up afterwards."""
    async with make(pipeline, executor, **changes) as session:
        yield session


def chain(*types: str, **options: dict[str, Any]) -> Pipeline:
    """A pipeline of nodes in a row, named a, b, c, …; `options` are configs by node name."""
    pipeline = Pipeline("chain")
    names = [chr(ord("a") + index) for index in range(len(types))]
    for name, kind in zip(names, types, strict=True):
        pipeline.add_node(kind, name, options.get(name))
    for first, second in itertools.pairwise(names):
        pipeline.connect(first, "output", second, "input")
    return pipeline
