"""Agents as a node of a pipeline, in a real session."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ringline import NodeConfigError, Pipeline, Session
from tests.integration.sessions import config, running, session_id

CODE = "tests.integration.agents_code.pooled"
ROOT = str(Path(__file__).parents[2])


def agents(*more: dict[str, Any], **options: Any) -> Pipeline:
    listed = [{"id": "c", "agent": f"{CODE}:Counter", "arguments": {"start": 10}}, *more]
    pipeline = Pipeline("world").add_node("agent_pool", "agents", {"agents": listed, **options})
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


async def test_a_pool_nodes_figures_are_in_the_sessions_metrics() -> None:
    moody = {"id": "m", "agent": f"{CODE}:Moody"}
    session = Session(session_id(), agents(moody), config=config(extra_paths=(ROOT,)), metrics_port=0)
    async with session:
        server = session._metrics
        assert server is not None

        async def ask(agent: str, observation: Any) -> None:
            await session.send("orders", {"agent": agent, "observation": observation})
            (await session.receive("results", timeout=60)).release()

        for number in range(3):
            await ask("c", number)
        await ask("m", ["fail"])
        wanted = {"agent_steps": 4.0, "agent_errors": 1.0, "agents_restored": 0.0, "agents": 2.0}
        found: dict[str, float] = {}
        while {name: found.get(name) for name in wanted} != wanted:
            await asyncio.sleep(0.05)  # a node tells its own numbers once a second
            text = await asyncio.to_thread(scraped, server.port)
            found = {
                sample.labels["name"]: sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.name.startswith("ringline_node_custom")
            }
        assert found["agent_step_seconds"] > 0
        assert 'ringline_node_latency_seconds_count{node="agents"' in text
        assert 'ringline_node_memory_bytes{node="agents"' in text


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return str(answer.read().decode())


async def test_two_agents_of_one_id_are_refused() -> None:
    with pytest.raises(NodeConfigError, match="two agents 'c'"):
        async with running(agents({"id": "c", "agent": f"{CODE}:Counter"}), extra_paths=(ROOT,)):
            pass
