"""The background tasks of handles: named and grouped, so that somebody who asks what a process is waiting for finds them.

Handles begin theirs with `begin`; applications and tests ask `running_tasks`, which `ringline.agents` offers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

SPAWN_GROUP: Final = "runner.spawn"
"""The group of what belongs to spawned processes."""
_groups: WeakKeyDictionary[asyncio.Task[Any], str] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A task that has not ended: its name (``spawn_health_check:<process id>``), its group, and ``file:line`` of where it waits."""

    name: str
    group: str
    where: str


def begin(work: Coroutine[Any, Any, None], name: str, group: str = SPAWN_GROUP) -> asyncio.Task[None]:
    """Begin a task on the running loop, and remember its group for as long as it lives."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _groups[task] = group
    return task


def running_tasks(group: str | None = None) -> list[RunningTask]:
    """List the tasks of handles (of one group, or all) that run in any event loop now, by name."""
    found = [
        RunningTask(task.get_name(), of, _where(task))
        for task, of in list(_groups.items())
        if not task.done() and group in (None, of)
    ]
    return sorted(found, key=lambda each: each.name)


def _where(task: asyncio.Task[Any]) -> str:
    frames = task.get_stack(limit=1)
    return f"{frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else ""
