"""Agents as a node of a pipeline, in a real session."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from ringline import NodeConfigError, Pipeline
from tests.integration.sessions import running

CODE = "tests.integration.agents_code.pooled"
ROOT = str(Path(__file__).parents[2])


def agents(*more: dict[str, Any], **options: Any) -> Pipeline:
    listed = [{"id": "c", "agent": f"{CODE}:Counter", "arguments": {"start": 10}}, *more]
    pipeline = Pipeline("world").add_node("ringline.agents.node:AgentNode", "agents", {"agents": listed, **options})
    manifest = pipeline.to_manifest()
    manifest["spec"]["session"] = {"onNodeCrash": "RestartNode"}
    return Pipeline.from_manifest(manifest).input("orders", to="agents.input").output("results", from_="agents.output")


async def test_agents_of_a_node_answer_and_go_on_after_its_restart() -> None:
    moody = {"id": "m", "agent": f"{CODE}:Moody"}
    async with running(agents(moody, state_bytes=1 << 20), extra_paths=(ROOT,)) as session:

        async def ask(agent: Any, observation: Any) -> Any:
            await session.send("orders", {"agent": agent, "observation": observation})
            return (await session.receive("results", timeout=60)).as_json()

        assert await ask("c", 5) == {"agent": "c", "result": 15}
        failed = await ask("m", ["fail"])
        assert (failed["agent"], failed["error"]) == ("m", "ValueError: a bad mood")
        assert "in fail" in failed["traceback"]
        assert "there are: c, m" in (await ask("x", 1))["error"]
        assert "there are: c, m" in (await ask(None, 1))["error"]
        pid = (await session.get_status()).nodes["agents"].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert await ask("c", 1) == {"agent": "c", "result": 16}
        assert (await session.get_status()).nodes["agents"].epoch == 2


async def test_two_agents_of_one_id_are_refused() -> None:
    with pytest.raises(NodeConfigError, match="two agents 'c'"):
        async with running(agents({"id": "c", "agent": f"{CODE}:Counter"}), extra_paths=(ROOT,)):
            pass
