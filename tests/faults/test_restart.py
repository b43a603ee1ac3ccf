"""RestartNode: the same session, the next epoch; and what ends a session that restarts in vain."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from typing import Any

import pytest

from ringline import Pipeline, ProcessCrashed, Session
from ringline.graph.model import MediaPipeline
from tests.faults.scenes import WATCHFUL, gone, idle, nothing_left, pids_of, short, started, until
from tests.helpers.freeze import freeze
from tests.integration.sessions import Lines, session_id


def restarting(*types: str, policy: dict[str, Any] | None = None, **changes: Any) -> Session:
    """A session of nodes in a row under RestartNode."""
    names = "abcdef"[: len(types)]
    manifest = {
        "apiVersion": "ringline.dev/v1alpha1",
        "kind": "MediaPipeline",
        "metadata": {"name": "restarting"},
        "spec": {
            "session": {"onNodeCrash": "RestartNode", "backoffSeconds": 0, **(policy or {})},
            "nodes": [{"name": name, "type": kind} for name, kind in zip(names, types, strict=True)],
            "channels": [{"from": f"{a}.output", "to": f"{b}.input"} for a, b in itertools.pairwise(names)],
        },
    }
    pipeline = Pipeline.of(MediaPipeline.model_validate(manifest))
    return Session(session_id(), pipeline, config=short(**changes), log_callback=Lines())


async def answer(session: Session, node: str) -> str:
    await session.send("a", "ping")
    return (await session.receive(node, timeout=60)).as_text()


@pytest.mark.parametrize("victim", ["a", "b", "c"])
async def test_a_killed_node_comes_back_in_the_next_epoch(victim: str) -> None:
    session = await started(restarting("does_as_told", "does_as_told", "does_as_told"))
    assert (await answer(session, "c")).endswith(":ping")
    before = await pids_of(session)
    os.kill(before[victim], signal.SIGKILL)
    await gone(before[victim])
    assert (await answer(session, "c")).startswith("c:")
    status = await session.get_status()
    assert status.state == "running"
    assert status.nodes[victim].epoch == 2
    assert status.nodes[victim].restarts == 1
    last = status.nodes[victim].last_exit
    assert last is not None
    assert last.reason == "Killed"
    after = await pids_of(session)
    assert {name for name in after if after[name] != before[name]} == {victim}
    await session.cleanup()
    nothing_left(session)


async def test_messages_queued_for_a_dead_node_go_to_its_successor() -> None:
    session = await started(restarting("does_as_told", "does_as_told"))
    await answer(session, "b")
    victim = (await pids_of(session))["b"]
    freeze(victim)
    for number in range(8):
        await session.send("a", f"m{number}")
    await asyncio.sleep(0.1)
    os.kill(victim, signal.SIGKILL)
    got = [(await session.receive("b", timeout=60)).as_text().rpartition(":")[2] for _ in range(8)]
    assert got == [f"m{number}" for number in range(8)]
    await session.cleanup()


async def test_restarts_that_are_used_up_end_the_session() -> None:
    session = await started(restarting("does_as_told", policy={"maxRestarts": 1}))
    crashes: list[int] = []
    session.on_process_crash(lambda event: crashes.append(event.epoch))
    await session.send("a", "exit")
    await until(lambda: crashes == [1])
    assert (await answer(session, "a")).startswith("a:")
    await session.send("a", "exit")
    with pytest.raises(ProcessCrashed, match="exited with code 3"):
        await session.receive("a")
    with pytest.raises(ProcessCrashed):
        await session.wait()
    assert crashes == [1, 2]
    await session.cleanup()
    nothing_left(session)


async def test_a_node_that_no_longer_starts_ends_the_session(tmp_path: Any) -> None:
    folder = tmp_path / "nodes"
    folder.mkdir()
    (folder / "once.py").write_text(ONCE.format(flag=tmp_path / "flag"))
    session = await started(restarting("starts_once", policy={"maxRestarts": 2}, extra_paths=(str(folder),)))
    await session.send("a", "die")
    with pytest.raises(ProcessCrashed, match="exited with code 9"):
        await session.receive("a")
    assert (await session.get_status()).nodes["a"].restarts == 2
    await session.cleanup()
    nothing_left(session)


async def test_a_cleanup_during_a_restart_leaves_nothing() -> None:
    session = await started(restarting("does_as_told", "does_as_told", policy={"backoffSeconds": 3600}))
    for restarts in (1, 2):  # the first is immediate, the second waits for an hour
        await answer(session, "b")
        os.kill((await pids_of(session))["a"], signal.SIGKILL)
        while (await session.get_status()).nodes["a"].restarts < restarts:
            await asyncio.sleep(0.005)
    assert (await session.get_status()).nodes["a"].state == "restarting"
    await session.cleanup()
    nothing_left(session)


ONCE = '''
import os
from pathlib import Path

from ringline import MultiprocessNode, register_node


@register_node("starts_once")
class StartsOnce(MultiprocessNode):
    """Starts the first time only."""

    def initialize(self):
        flag = Path("{flag}")
        if flag.exists():
            os._exit(9)
        flag.touch()

    def process(self, data):
        os._exit(9)
'''


async def test_a_hung_node_is_killed_and_replaced() -> None:
    session = await started(restarting("does_as_told", "does_as_told", **WATCHFUL))
    await answer(session, "b")
    victim = (await pids_of(session))["b"]
    await idle(session, "b")
    freeze(victim)
    await session.send("a", "waits for the next one")
    assert (await session.receive("b", timeout=60)).as_text().endswith("waits for the next one")
    last = (await session.get_status()).nodes["b"].last_exit
    assert last is not None
    assert (last.reason, last.epoch) == ("Unhealthy", 1)
    await gone(victim)
    await session.cleanup()
    nothing_left(session)


async def test_a_finite_stream_goes_through_a_restart_to_its_end() -> None:
    session = await started(restarting("does_as_told", "does_as_told"))
    await answer(session, "b")
    await session.send("a", "kill")
    for number in range(5):
        await session.send("a", f"m{number}")
    await session.end()
    got = [data.as_text().rpartition(":")[2] async for data in session.stream("b")]
    assert got == [f"m{number}" for number in range(5)]
    await session.wait()
    await session.cleanup()
    nothing_left(session)
