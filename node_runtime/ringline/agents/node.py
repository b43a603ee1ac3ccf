"""Agents as a node of a pipeline: the type ``agent_pool`` of the box. Several workers are several such nodes.

A message in names an agent and what it observes, a message out has what came of it; an agent that raises does not end the node.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ringline.agents.stage import Stage
from ringline.agents.state import SharedState
from ringline.agents.values import unpack
from ringline.data import DataType, RuntimeData
from ringline.errors import NodeConfigError
from ringline.names import ENV_SESSION_DIR
from ringline.node.base import MultiprocessNode
from ringline.node.registry import register_node


class AgentSpec(BaseModel):
    """One agent of a node."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=150, description="Its name in messages.")
    agent: str = Field(description="Its class: module:Class, from `extraPaths` or installed.")
    arguments: dict[str, Any] = Field(default={}, description="Arguments of the constructor.")


class AgentNodeConfig(BaseModel):
    """The agents, and room for what they share."""

    model_config = ConfigDict(extra="forbid")

    agents: list[AgentSpec] = Field(min_length=1, description="The agents that live in this node.")
    state_bytes: int = Field(
        default=0, ge=0, le=1 << 30, description="Size of their shared state; 0: none, and no snapshots."
    )


@register_node("agent_pool")
class AgentNode(MultiprocessNode):
    """Runs agents in the node's own process, one step at a time. Several workers are several such nodes.

    Input `input`: JSON ``{"agent": id, "observation": value}``. Output `output`: ``{"agent": id, "result": value}`` (arrays become
    lists), or ``{"agent": id, "error": text, "traceback": text}``; an agent that raises does not end the node. With `state_bytes`,
    agents share a state of that size in the session's directory, and those with ``snapshot()`` and ``restore()`` go on from
    their last step after a restart of the node. Metrics: counters `agent_steps`, `agent_errors`, `agents_restored`; gauges `agents`,
    `agent_step_seconds`.

    Example::

        - {name: world, type: agent_pool, config: {state_bytes: 1048576, agents: [{id: a1, agent: "walker:Walker", arguments: {speed: 2}}]}}
    """

    aliases = ("agents",)
    inputs: ClassVar[Mapping[str, DataType | str] | None] = {"input": DataType.JSON}
    outputs: ClassVar[Mapping[str, DataType | str] | None] = {"output": DataType.JSON}
    Config = AgentNodeConfig
    options: AgentNodeConfig

    _shared: SharedState | None = None
    _runner: asyncio.Runner | None = None
    _number = 0

    def initialize(self) -> None:
        """Make all agents, with their last states if an earlier incarnation of the node has left them."""
        path = Path(os.environ.get(ENV_SESSION_DIR, "")) / f"state.{self.node_id}"
        again = path.exists()
        if self.options.state_bytes:
            size = self.options.state_bytes
            self._shared = SharedState.open(path) if again else SharedState.create(path, size_bytes=size)
        self._stage = Stage(self._shared, self)
        seen: set[str] = set()
        for each in self.options.agents:
            if each.id in seen:
                raise NodeConfigError(f"node '{self.node_id}' has two agents '{each.id}'; rename one")
            seen.add(each.id)
            made = self._stage.add(each.id, each.agent, each.arguments, again=again)
            self.metrics.counter("agents_restored").inc(made["restored"])
            if again and not made["restored"]:
                self.log.warning("agent %s starts anew: it keeps no snapshot", each.id)
        self.metrics.gauge("agents").set(len(seen))
        self._known = seen
        self._number = time.monotonic_ns()  # no step of an earlier incarnation has the number of a new one

    def process(self, data: RuntimeData) -> RuntimeData:
        """Run one agent's step."""
        order = data.as_json()
        agent_id = order.get("agent") if isinstance(order, dict) else None
        if not isinstance(agent_id, str) or agent_id not in self._known:
            return self._refused(agent_id, f"there is no such agent here (there are: {', '.join(sorted(self._known))})")
        self._number += 1
        began = time.monotonic()
        outcome = self._stage.step(self._number, agent_id, order.get("observation"))
        self.metrics.counter("agent_steps").inc()
        self.metrics.gauge("agent_step_seconds").set(time.monotonic() - began)
        if outcome.kind != "done":
            return self._refused(agent_id, outcome.error, outcome.traceback)
        return RuntimeData.json({"agent": agent_id, "result": _plain(unpack(outcome.result))})

    def cleanup(self) -> None:
        """Close the shared state and the event loop of async agents."""
        if self._shared is not None:
            self._shared.close()
        if self._runner is not None:
            self._runner.close()

    def _refused(self, agent_id: object, error: str, traceback: str = "") -> RuntimeData:
        self.metrics.counter("agent_errors").inc()
        return RuntimeData.json({"agent": agent_id, "error": error, "traceback": traceback})

    def progressed(self, step: int, fraction: float, message: str) -> None:
        """Log how far a step is."""
        self.log.debug("step %d: %d%% %s", step, round(100 * fraction), message)

    def unwanted(self, step: int) -> bool:
        """Say whether a step in work was flushed."""
        return step == self._number and self.interrupted

    def finish(self, result: Awaitable[Any]) -> Any:
        """Complete an async agent's step."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(_awaited(result))


async def _awaited(result: Any) -> Any:
    return await result


def _plain(value: Any) -> Any:
    """Make lists of arrays, so that the value is JSON."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value
