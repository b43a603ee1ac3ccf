"""Each node has an interpreter lock of its own: one that holds its lock for ever does not slow the others."""

from __future__ import annotations

import asyncio

from ringline import Pipeline, RuntimeData
from tests.faults.scenes import of, pids_of, started


async def test_a_node_that_holds_its_gil_does_not_hold_up_its_neighbour() -> None:
    pipeline = Pipeline().add_node("does_as_told", "held").add_node("does_as_told", "free")
    session = await started(of(pipeline, health_check_interval=3600.0))
    try:
        pids = await pids_of(session)
        assert len(set(pids.values())) == 2
        await session.send("held", RuntimeData.text("hold"))
        for number in range(50):
            await session.send("free", RuntimeData.text(f"{number}"))
            answer = await session.receive("free", timeout=60)
            assert answer.as_text() == f"free:{pids['free']}:{number}"
        waiting = asyncio.ensure_future(session.receive("held"))
        await asyncio.sleep(0)
        assert not waiting.done(), "the other one still holds its lock"
        waiting.cancel()
    finally:
        await session.cleanup()
