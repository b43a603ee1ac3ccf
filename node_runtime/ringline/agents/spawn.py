"""`spawn_process`: one agent in a process of its own, behind a handle."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Final

from ringline.agents.engine import CHILD, SpawnSession, folders, planned
from ringline.agents.handle import SpawnedProcessHandle
from ringline.control.messages import Message, MessageType
from ringline.errors import SettingsError
from ringline.graph.pipeline import Pipeline
from ringline.host.handle import SpawnConfig
from ringline.wording import hint

log = logging.getLogger("ringline.agents")

DEFAULT_MESSAGE_BYTES: Final = 4 << 20
"""Largest message each way; the channels' memory is four times that."""
_KNOWN: Final = (
    "agent",
    "arguments",
    "method",
    "logging_config",
    "paths",
    "max_message_size",
    "init_timeout_secs",
    "env",
    "env_allow",
)


async def spawn_process(
    agent_config: dict[str, Any],
    inputs: Any,
    config: SpawnConfig | None = None,
    *,
    on_unhealthy: Callable[[], Any] | None = None,
    max_health_failures: int = 2,
    log_callback: Callable[[str, str, str], None] | None = None,
) -> SpawnedProcessHandle:
    """Spawn a process that runs an agent, give it its first inputs, and return its handle once it is ready.

    `agent_config`: ``agent`` ("module:Class" or "module:function"; needed), ``arguments`` of the class, ``method`` (default
    step, run or invoke), ``logging_config`` (for `logging.config.dictConfig`, applied before the agent is imported), ``paths``
    (folders for imports), ``env`` (variables to add), ``env_allow`` (names of the variables that are inherited, ``LC_*`` for all that begin so;
    without it all but Ringline's own are), ``max_message_size`` in bytes, ``init_timeout_secs``. `inputs`: what the agent is called with; JSON
    values and arrays. `on_unhealthy` (sync or async) is called after `max_health_failures` failed checks in a row.

    Raises `SettingsError` for a bad `agent_config`, `NodeLoadError` or `NodeInitError` when the agent can't be made, `ProcessSpawnError`,
    `InitTimeout`; nothing is left then.
    """
    _check(agent_config)
    process_id = str(uuid.uuid4())
    options = {"process_id": process_id, "on_unhealthy": on_unhealthy, "max_health_failures": max_health_failures}
    lines = log_callback or (lambda _, stream, line: log.info("%s %s", stream, line, extra={"process_id": process_id}))
    allowed = agent_config.get("env_allow")
    inherited = _everything if allowed is None else partial(_any_matches, tuple(allowed))
    session = SpawnSession(_plan(agent_config), config or SpawnConfig(), options, lines, inherited)
    try:
        await session.start()
        handle = session.handle
        payload = {"agent_config": agent_config, "inputs": inputs}
        await handle.send_message(Message(MessageType.INPUT, payload, str(uuid.uuid4())))
    except BaseException:
        await session.close()
        raise
    handle.begin()
    log.info("spawned process %s", process_id, extra={"process_id": process_id, "pid": handle.pid})
    return handle


def _check(agent_config: Mapping[str, Any]) -> None:
    if not isinstance(agent_config.get("agent"), str):
        raise SettingsError("agent_config needs 'agent': the text module:Class or module:function")
    for name in agent_config:
        if name not in _KNOWN:
            raise SettingsError(f"agent_config has no field '{name}'; {hint(name, _KNOWN)}")
    allowed = agent_config.get("env_allow", ())
    if not isinstance(allowed, list | tuple) or not all(isinstance(each, str) for each in allowed):
        raise SettingsError(
            f"env_allow of agent_config is a list of variables' names, as in ['HOME', 'LC_*'], not {allowed!r:.60}"
        )


def _everything(_: str) -> bool:
    return True


def _any_matches(allowed: tuple[str, ...], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in allowed)


def _plan(agent_config: Mapping[str, Any]) -> Any:
    own = {
        name: agent_config[name] for name in ("agent", "arguments", "method", "logging_config") if name in agent_config
    }
    pipeline = Pipeline("spawned")
    pipeline.add_node("ringline.agents.child:SpawnedChild", CHILD, own, env=agent_config.get("env"))
    pipeline.input("input", to=f"{CHILD}.input").output("output", from_=f"{CHILD}.output")
    size = int(agent_config.get("max_message_size", DEFAULT_MESSAGE_BYTES))
    return planned(
        pipeline,
        max_message_size=size,
        init_timeout_secs=float(agent_config.get("init_timeout_secs", 30.0)),
        extra_paths=tuple(folders(tuple(map(str, agent_config.get("paths", ()))))),
        stall_timeout_secs=0.0,
    )
