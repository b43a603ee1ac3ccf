"""What a pool is when nothing is said about it, and how its steps are waited for and looked into."""

from __future__ import annotations

import asyncio
import bdb
import inspect
import logging
import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ringline.agents import AgentPool, IOThreadPool, ProcessBasedAgentPool, SpawnConfig
from ringline.agents import named as named_pools
from ringline.agents import stage as stages
from ringline.agents.pool import MOST_WORKERS
from tests.integration.agents_code import pooled

HERE = "tests.integration.agents_code.pooled"
CORES = min(MOST_WORKERS, len(os.sched_getaffinity(0)))


def test_there_is_a_worker_for_each_core_and_twenty_threads_wait() -> None:
    pool = AgentPool("hybrid")
    assert (pool.workers, pool._threads) == (CORES, 20)
    said = {name: each.default for name, each in inspect.signature(AgentPool).parameters.items()}
    assert (said["executor"], said["threads"], said["workers"]) == ("auto", 20, None)
    assert (said["max_tasks_per_worker"], said["max_rss_mb"], said["memory_limit_mb"]) == (0, 0, None)
    assert (said["max_pending"], said["max_restarts"], said["init_timeout"]) == (100_000, 20, 60.0)
    assert (said["max_message_size"], said["batching"], said["state_bytes"]) == (4 << 20, True, 16 << 20)
    with IOThreadPool() as io:
        assert io.num_threads == 20
    assert SpawnConfig() == SpawnConfig(5.0, 10.0, 3.0)


class Made:
    """Stands for the pool of processes that another one makes."""

    def __init__(self, executor: str, *, workers: int, paths: Any) -> None:
        self.said = (executor, workers)

    def start(self) -> Made:
        return self


@pytest.mark.parametrize(("said", "size"), [(None, os.cpu_count()), (3, 3)])
def test_a_pool_of_processes_has_as_many_as_the_machine_has_processors(
    said: int | None, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_pools, "AgentPool", Made)
    pool = ProcessBasedAgentPool(said, inference=f"{HERE}:inference")
    made: Any = pool.pool
    assert made.said == ("process", size)
    assert pool.num_processes == size


async def test_a_step_is_awaited_and_who_goes_away_cancels_it() -> None:
    with AgentPool("thread", threads=1) as pool:
        pool.add("a", f"{HERE}:Moody").result()
        assert await pool.submit("a", ["echo", 1]) == ["a", 1]
        with pytest.raises(Exception, match="a bad mood"):
            await pool.submit("a", ["fail"])
        working, waiting = pool.submit("a", ["until_cancelled"]), pool.submit("a", ["echo", 2])

        async def wait() -> Any:
            return await waiting

        task = asyncio.create_task(wait())
        while not working.progress.fraction:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not waiting.cancelled():
            await asyncio.sleep(0.005)
        working.cancel()
        assert await working == "told to stop"


def test_a_debugger_stops_in_a_step_of_an_inline_pool() -> None:
    stops: list[tuple[str, Any]] = []

    class Debugger(bdb.Bdb):
        def user_line(self, frame: FrameType) -> None:
            if self.break_here(frame):
                stops.append((frame.f_code.co_name, frame.f_locals["value"]))
            self.set_continue()

    file, line = str(Path(pooled.__file__)), inspect.getsourcelines(pooled.Moody.echo)[1] + 1
    debugger = Debugger()
    assert debugger.set_break(file, line) is None
    tracing = sys.gettrace()
    with AgentPool("inline") as pool:
        pool.add("a", f"{HERE}:Moody")
        try:
            debugger.runcall(pool.submit, "a", ["echo", 42])
        finally:
            sys.settrace(tracing)
            debugger.clear_all_breaks()
    assert stops == [("echo", 42)]


def test_a_record_of_the_log_says_whose_step_wrote_it(tmp_path: Path) -> None:
    seen: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    handler = Kept()
    handler.addFilter(stages.named)
    log = logging.getLogger("chatty")
    log.addHandler(handler)
    try:
        with AgentPool("thread", threads=2) as pool:
            for name in ("a", "b"):
                pool.add(name, "tests.integration.agents_code.chatty:Remark").result()
                assert pool.submit(name, f"of {name}").result() == f"of {name}"
        log.warning("of nobody")
        log.warning("of somebody else", extra={"agent_id": "c"})
    finally:
        log.removeHandler(handler)
    found = {record.getMessage(): getattr(record, "agent_id", None) for record in seen}
    assert found == {"remark of a": "a", "remark of b": "b", "of nobody": None, "of somebody else": "c"}
