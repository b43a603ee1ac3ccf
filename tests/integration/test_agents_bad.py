"""What agents and callers may do wrong in pools of processes: each gets its error, nobody else suffers, nothing is left."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from ringline.agents import AgentPool
from ringline.errors import (
    AgentCrashed,
    AgentError,
    DataError,
    MessageTooLargeError,
    PoolClosedError,
    PoolError,
)

ROOT = str(Path(__file__).parents[2])
CODE = "tests.integration.agents_code.pooled"
BOTH = pytest.mark.parametrize("executor", ["process", "hybrid"])


def pool_of(executor: Any = "process", workers: int = 1, **options: Any) -> AgentPool:
    return AgentPool(executor, workers=workers, paths=[ROOT], **options)


def moody(pool: AgentPool, *names: str) -> None:
    for name in names:
        pool.add(name, f"{CODE}:Moody")


def until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.005)


@BOTH
def test_a_step_that_was_sent_is_cancelled_before_it_begins_and_never_runs(executor: str) -> None:
    with pool_of(executor, threads=4) as pool:
        moody(pool, "a", "b")
        pool.add("c", f"{CODE}:Forgetful")
        assert pool.submit("c", 1).result() == 1
        pool.map(("a", ["echo", number]) for number in range(50))  # the worker is known to be quick: much is sent ahead
        working = pool.submit("a", ["until_cancelled"])
        blocked = pool.submit("c", 10) if executor == "hybrid" else None
        until(lambda: bool(working.progress.fraction))
        sent = [pool.submit("a", ["echo", number]) for number in range(8)]
        late = [pool.submit("c", 100) for _ in range(4)] if executor == "process" else []
        until(lambda: any(step.sent for step in sent + late))
        assert working.running()
        assert all(step.cancel() for step in sent + late)
        for step in sent + late:
            with pytest.raises(CancelledError):
                step.result()
        assert not working.cancel()  # it has begun, and is told
        assert working.result() == "told to stop"
        if blocked is not None:
            assert blocked.result() == 11
        assert pool.submit("c", 1).result() == (12 if blocked is not None else 2)
        assert pool.submit("a", ["echo", 1]).result() == ["a", 1]
        until(lambda: pool.facts().waiting == 0)
        assert pool.facts().workers[0].outcomes["cancelled"] >= 1


async def test_a_step_whose_awaiter_goes_away_is_not_run() -> None:
    async with pool_of() as pool:
        moody(pool, "a")
        pool.add("c", f"{CODE}:Forgetful")
        await pool.step("c", 1)
        working = pool.submit("a", ["until_cancelled"])
        while not working.progress.fraction:
            await asyncio.sleep(0.005)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.step("c", 100)
        working.cancel()
        assert await asyncio.wrap_future(working) == "told to stop"
        assert await pool.step("c", 1) == 2


def test_a_worker_over_its_memory_limit_is_killed_and_says_why() -> None:
    with pool_of(memory_limit_mb=200) as pool:
        moody(pool, "greedy")
        pool.add("c", f"{CODE}:Counter").result()
        assert pool.submit("c", 1).result() == 1
        hoarding = pool.submit("greedy", ["hoard", 400])
        waiting = pool.submit("c", 1)
        with pytest.raises(AgentCrashed, match="agent 'greedy': its worker ended in this step: MemoryLimit"):
            hoarding.result()
        assert waiting.result() == 2
        assert pool.facts().workers[0].ends == {"MemoryLimit": 1}


@pytest.mark.parametrize("how", ["leave", "hang"])
def test_an_agent_that_is_deadly_to_make_is_tried_once_and_the_others_live_on(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pool_of(init_timeout=60.0 if how == "leave" else 5.0, max_restarts=2) as pool:
        pool.add("c", f"{CODE}:Counter").result()
        assert pool.submit("c", 1).result() == 1
        made = pool.add("deadly", f"{CODE}:Deadly", {"how": how})
        early, other = pool.submit("deadly", 1), pool.submit("c", 1)
        said = "its worker ended when it was made" if how == "leave" else "took longer than init_timeout, 5s"
        for step in (made, early):
            with pytest.raises(AgentCrashed, match=f"agent 'deadly': .*{said}"):
                step.result()
        assert other.result() == 2
        with pytest.raises(AgentCrashed, match=said):
            pool.submit("deadly", 1).result()
        assert pool.statistics()["restarts"] == 1
        pool.remove("deadly")
        assert pool.submit("c", 1).result() == 3
    assert "agent deadly can't be made" in caplog.text


def test_values_that_are_too_large_are_refused_both_ways() -> None:
    with pool_of(max_message_size=1 << 20) as pool:
        moody(pool, "a", "b")
        with pytest.raises(
            MessageTooLargeError, match=r"agent 'a': a value of 20000.. bytes can't be sent.*max_message_size"
        ):
            pool.submit("a", ["echo", np.zeros(2_000_000, np.uint8)])
        with pytest.raises(MessageTooLargeError, match="agent 'x': its arguments"):
            pool.add("x", f"{CODE}:Counter", {"start": "y" * 2_000_000})
        assert "x" not in pool.agents
        with pytest.raises(AgentError, match=r"a result of 2\d* bytes can't be sent: at most .*max_message_size"):
            pool.submit("a", ["large", 2_000_000]).result()
        many = [pool.submit("ab"[number % 2], ["large", 600_000]) for number in range(12)]
        assert {len(step.result()) for step in many} == {600_000}  # no two of them fit into one message
        pool.add("h", f"{CODE}:Huge").result()
        with pytest.raises(AgentError, match="StateFullError"):
            pool.submit("h", 1).result()
        with pytest.raises(DataError, match="agent 'a'"):
            pool.submit("a", {"x": {1, 2}})
        with pytest.raises(AgentError, match="SystemExit: 3"):
            pool.submit("a", ["exit", 3]).result()
        assert pool.statistics()["restarts"] == 0


@BOTH
def test_a_pool_is_closed_though_an_agent_never_returns_and_has_started_processes(executor: str) -> None:
    pool = pool_of(executor, threads=2).start()
    moody(pool, "a", "b")
    child = psutil.Process(pool.submit("a", ["fork"]).result())
    stuck, waiting = pool.submit("a", ["hang"]), pool.submit("a", ["echo", 1])
    pids = pool.statistics()["pids"]
    pool.close()
    for step in (stuck, waiting):
        with pytest.raises(PoolClosedError):
            step.result()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    child.wait(30)


def test_a_forked_child_may_neither_use_nor_close_the_pool_of_its_parent() -> None:
    with pool_of() as pool:
        moody(pool, "a")
        assert pool.submit("a", ["echo", 1]).result() == ["a", 1]
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            told = []
            for use in (lambda: pool.submit("a", 1), lambda: pool.add("b", "m:C"), pool.statistics, lambda: pool.state):
                try:
                    use()
                except PoolError as error:
                    told.append("parent process" in str(error))
            pool.close()
            os.write(writing, repr(told).encode())
            os._exit(0)
        os.close(writing)
        assert os.read(reading, 100) == b"[True, True, True, True]"
        os.close(reading)
        os.waitpid(child, 0)
        assert pool.submit("a", ["echo", 2]).result() == ["a", 2]


def test_callbacks_may_use_the_pool_and_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    with pool_of() as pool:
        moody(pool, "a", "b")
        followers: list[Any] = []
        first = pool.submit("a", ["echo", 1])
        first.add_done_callback(lambda _: followers.append(pool.submit("b", ["echo", 2])))
        first.add_done_callback(lambda _: 1 / 0)
        first.add_done_callback(lambda _: followers.append(pool.submit("a", ["echo", 3])))
        until(lambda: len(followers) == 2)
        assert [step.result() for step in followers] == [["b", 2], ["a", 3]]
    assert "ZeroDivisionError" in caplog.text


def test_a_worker_that_can_not_come_back_leaves_its_agents_to_the_others(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with pool_of(workers=2, max_restarts=1) as pool:
        for number in range(4):
            pool.add(f"c{number}", f"{CODE}:Counter").result()
        assert pool.map((f"c{number}", 1) for number in range(4)) == [1] * 4
        for _ in range(2):
            with pytest.raises(AgentCrashed):
                pool.submit("c0", "die").result()
        assert pool.map((f"c{number}", 1) for number in range(4)) == [2] * 4
        assert sorted(worker.agents for worker in pool.facts().workers) == [0, 4]
        assert len(pool.statistics()["pids"]) == 1


def test_an_idle_pool_sleeps() -> None:
    with pool_of("hybrid", workers=2) as pool:
        moody(pool, "a", "b")
        pool.map([("a", ["echo", 1]), ("b", ["echo", 1])])
        until(lambda: pool.facts().waiting == 0)
        backend: Any = pool._backend
        supervisor = backend._session._supervisor
        until(lambda: not any(stats.busy_since_ns for stats in supervisor.node_stats().values()))
        pids = (os.getpid(), *pool.statistics()["pids"])
        windows = [woken_within_two_seconds(pids)]
        while max(windows[-1]) > 20 and len(windows) < 10:  # what the steps and other tests left may take a while
            windows.append(woken_within_two_seconds(pids))
    assert max(windows[-1]) <= 20, (
        windows
    )  # a health check, a look at memory limits; nothing that looks many times a second


def woken_within_two_seconds(pids: tuple[int, ...]) -> list[int]:
    before = [wakes(pid) for pid in pids]
    time.sleep(2.0)
    return [wakes(pid) - then for pid, then in zip(pids, before, strict=True)]


def wakes(pid: int) -> int:
    """Count how often the threads of a process went to sleep by themselves."""
    lines = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for text in lines)


def lives(pid: int) -> bool:
    """Say whether a process runs; one that nobody has reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("what", ["pool", "handle"])
def test_an_application_that_is_killed_leaves_no_process_and_no_memory(what: str, tmp_path: Path) -> None:
    script = tmp_path / "application.py"
    script.write_text(APPLICATION)
    command = [sys.executable, str(script), what, ROOT]
    memory = Path(tempfile.mkdtemp(prefix="rl", dir=os.environ["RINGLINE_SHM_DIR"]))  # a socket's path must stay short
    environment = {**os.environ, "RINGLINE_SHM_DIR": str(memory)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as application:
        assert application.stdout is not None
        pid = int(application.stdout.readline())
        assert psutil.pid_exists(pid)
        assert list(memory.glob("*/*"))
        application.kill()
    until(lambda: not lives(pid))
    until(lambda: not list(memory.iterdir()))
    memory.rmdir()


APPLICATION = """
import asyncio, sys, time
from ringline.agents import AgentPool, spawn_process

CODE = "tests.integration.agents_code"


async def spawned():
    handle = await spawn_process({"agent": f"{CODE}.spawned:Echo", "paths": [sys.argv[2]]}, 1)
    print(handle.pid, flush=True)
    await asyncio.sleep(600)


if __name__ == "__main__":
    if sys.argv[1] == "handle":
        asyncio.run(spawned())
    pool = AgentPool("process", workers=1, paths=[sys.argv[2]]).start()
    pool.add("a", f"{CODE}.pooled:Moody").result()
    print(pool.submit("a", ["where"]).result()[0], flush=True)
    time.sleep(600)
"""
