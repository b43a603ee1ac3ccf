"""Many agents on few cores, and handles on single processes; built from sessions, so there is no second mechanism.

Applications import from here. The table is lazy: an agent's process, which imports `ringline.agents.child`, must not load
what belongs to the application's side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringline.agents.handle import SpawnedProcessHandle as SpawnedProcessHandle
    from ringline.agents.named import IOThreadPool as IOThreadPool
    from ringline.agents.named import ProcessBasedAgentPool as ProcessBasedAgentPool
    from ringline.agents.pool import AgentPool as AgentPool
    from ringline.agents.spawn import spawn_process as spawn_process
    from ringline.agents.state import SharedState as SharedState
    from ringline.agents.state import Versioned as Versioned
    from ringline.agents.steps import Step as Step
    from ringline.control.messages import Message as Message
    from ringline.control.messages import MessageType as MessageType
    from ringline.host.handle import SpawnConfig as SpawnConfig
    from ringline.host.handle_tasks import RunningTask as RunningTask
    from ringline.host.handle_tasks import running_tasks as running_tasks

_HOME = {
    "AgentPool": "ringline.agents.pool",
    "IOThreadPool": "ringline.agents.named",
    "Message": "ringline.control.messages",
    "MessageType": "ringline.control.messages",
    "ProcessBasedAgentPool": "ringline.agents.named",
    "RunningTask": "ringline.host.handle_tasks",
    "SharedState": "ringline.agents.state",
    "SpawnConfig": "ringline.host.handle",
    "SpawnedProcessHandle": "ringline.agents.handle",
    "Step": "ringline.agents.steps",
    "Versioned": "ringline.agents.state",
    "running_tasks": "ringline.host.handle_tasks",
    "spawn_process": "ringline.agents.spawn",
}

__all__ = sorted(_HOME)  # noqa: PLE0605  (a list of texts)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
