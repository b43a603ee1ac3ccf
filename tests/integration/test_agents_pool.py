"""Pools of agents in real worker processes: every kind of bad agent gets its error, and nobody else suffers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from ringline.agents import AgentPool, ProcessBasedAgentPool
from ringline.errors import (
    AgentCrashed,
    AgentError,
    DataError,
    PoolClosedError,
    PoolError,
    PoolFullError,
    StateFullError,
    StepExpired,
    StepTimeout,
)

ROOT = str(Path(__file__).parents[2])
CODE = "tests.integration.agents_code.pooled"


def pool_of(executor: Any = "process", workers: int = 1, **options: Any) -> AgentPool:
    return AgentPool(executor, workers=workers, paths=[ROOT], **options)


def moody(pool: AgentPool, *names: str) -> None:
    for name in names:
        pool.add(name, f"{CODE}:Moody")


def counters(pool: AgentPool, count: int, kind: str = "Counter") -> list[str]:
    names = [f"{kind}{number}" for number in range(count)]
    for name in names:
        pool.add(name, f"{CODE}:{kind}")
    return names


def kill_one(pool: AgentPool, turn: int = 0) -> None:
    """Kill one of the workers that live now."""
    while True:
        pids = pool.statistics()["pids"]
        with contextlib.suppress(ProcessLookupError):
            if pids:
                os.kill(pids[turn % len(pids)], signal.SIGKILL)
                return
        time.sleep(0.005)


def test_steps_of_each_agent_come_in_order_and_their_state_stays() -> None:
    with pool_of(workers=2) as pool:
        names = counters(pool, 10)
        assert pool.map((names[number % 10], 1) for number in range(200)) == [number // 10 + 1 for number in range(200)]
        pids = set(pool.map((name, "pid") for name in names))
        assert len(pids) == 2
        assert pids == set(pool.statistics()["pids"])
        assert pool.statistics()["steps"] == 210
        pool.add("rich", f"{CODE}:Counter", {"start": 100}).result()
        assert pool.submit("rich", np.float64(1)).get() == 101
        pool.remove("rich")
        with pytest.raises(PoolError, match="no agent 'rich'"):
            pool.submit("rich", 1)
        with pytest.raises(PoolError, match="no agent 'rich'"):
            pool.remove("rich")


def test_what_an_agent_does_wrong_is_its_own_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with pool_of() as pool:
        moody(pool, "a", "b")
        with pytest.raises(AgentError, match="agent 'a': ValueError: a bad mood") as raised:
            pool.submit("a", ["fail"]).result()
        assert raised.value.agent_id == "a"
        assert "in fail" in raised.value.worker_traceback
        with pytest.raises(AgentError, match=r"agent 'a'.*object"):
            pool.submit("a", ["unsendable"]).result()
        with pytest.raises(AgentError, match="no such agent today"):
            pool.add("broken", f"{CODE}:Broken").result()
        with pytest.raises(AgentError, match="could not be made"):
            pool.submit("broken", 1).result()
        with pytest.raises(AgentError, match="StateFullError"):
            pool.submit("a", ["believe", "k" * 300, 1]).result()
        with pytest.raises(StateFullError):
            pool.state["k"] = np.zeros(32 << 20, dtype=np.uint8)
        assert pool.submit("a", ["believe", "mean", [1, 2]]).result() > 0
        assert pool.state["mean"] == [1, 2]
        assert pool.submit("b", ["echo", {"x": np.arange(3)}]).result()[1]["x"].tolist() == [0, 1, 2]
        with pytest.raises(DataError, match="agent 'a'"):
            pool.submit("a", object())
        with pytest.raises(PoolError, match="has an agent 'a' already"):
            pool.add("a", f"{CODE}:Moody")
        with pytest.raises(PoolError, match="1 to 150 bytes"):
            pool.add("", f"{CODE}:Moody")
        assert pool.statistics()["restarts"] == 0


@pytest.mark.parametrize("order", ["leave", "segfault"])
def test_one_that_ends_its_worker_fails_alone_and_the_others_go_on(order: str) -> None:
    with pool_of() as pool:
        names = counters(pool, 5)
        moody(pool, "bad")
        before = pool.map((name, 1) for name in names)
        steps = [pool.submit(name, 1) for name in names]
        last = pool.submit("bad", [order])
        after = [pool.submit(name, 1) for name in names]
        with pytest.raises(AgentCrashed, match="agent 'bad': its worker ended in this step"):
            last.result()
        assert (before, [each.result() for each in steps], [each.result() for each in after]) == (
            [1] * 5,
            [2] * 5,
            [3] * 5,
        )
        numbers = pool.statistics()
        assert (numbers["restarts"], numbers["restored"], numbers["anew"]) == (1, 5, 1)
        assert pool.submit("bad", ["echo", 1]).result() == ["bad", 1]
        dying, following = pool.submit(names[0], "die"), [pool.submit(names[0], 1) for _ in range(3)]
        with pytest.raises(AgentCrashed):
            dying.result()
        assert [each.result() for each in following] == [4, 5, 6]


def test_a_worker_killed_from_outside_answers_each_step_once(caplog: pytest.LogCaptureFixture) -> None:
    with pool_of(workers=2) as pool:
        names = [*counters(pool, 6), *counters(pool, 2, "Forgetful")]
        pool.map((name, 1) for name in names)
        steps = [(name, pool.submit(name, 1)) for _ in range(150) for name in names]
        next(as_completed([step for _, step in steps]))
        os.kill(pool.statistics()["pids"][0], signal.SIGKILL)
        results: dict[str, list[int]] = {name: [] for name in names}
        crashed = 0
        for name, step in steps:
            error = step.exception()
            crashed += isinstance(error, AgentCrashed)
            if error is None:
                results[name].append(step.result())
        assert crashed <= 1
        kept = [name for name in names if name.startswith("Counter")]
        for name in kept:  # whatever was counted was counted once
            assert results[name] == list(range(2, 2 + len(results[name])))
        assert "starts anew" in caplog.text
        assert "Forgetful" in caplog.text


def test_time_limits_end_what_never_returns_and_drop_what_is_too_late() -> None:
    with pool_of() as pool:
        moody(pool, "slow", "late")
        [calm] = counters(pool, 1)
        assert pool.submit(calm, 5).result() == 5
        hanging = pool.submit("slow", ["hang"], timeout=0.3)
        late = pool.submit("late", ["echo", 1], deadline=0.05)
        other = pool.submit(calm, 1)
        with pytest.raises(StepTimeout, match=r"ran longer than its timeout of 0.3s"):
            hanging.result()
        with pytest.raises(StepExpired, match="deadline passed"):
            late.result()
        assert other.result() == 6
        assert pool.submit("slow", ["echo", 2]).result() == ["slow", 2]


def noted(order: list[int], number: int, _: object) -> None:
    order.append(number)


def test_priorities_cancellation_progress_and_back_pressure() -> None:
    with pool_of(max_pending=60) as pool:
        moody(pool, "a", "b")
        pool.submit("a", ["echo", 0]).result()
        telling = pool.submit("b", ["progress"])
        while not telling.progress.fraction:
            time.sleep(0.005)
        assert telling.progress.message == "half way"
        order: list[int] = []
        steps = [pool.submit("a", ["sleep", 0.002], priority=number // 25) for number in range(50)]
        for number, step in enumerate(steps):
            step.add_done_callback(partial(noted, order, number))
        cancelled = steps[20].cancel()
        with pytest.raises(PoolFullError, match="max_pending"):
            pool.map(("a", ["echo", 1]) for _ in range(60))
        assert telling.result() == "whole"
        for number, step in enumerate(steps):
            if number != 20:
                assert step.result() == "slept"
        assert cancelled
        with pytest.raises(CancelledError):
            steps[20].result()
        done = [number for number in order if number != 20]
        assert sum(number >= 25 for number in done[:25]) >= 20  # what was on its way already goes first


def test_workers_are_renewed_by_tasks_and_by_memory_without_losing_a_step() -> None:
    with pool_of(max_tasks_per_worker=40) as pool:
        names = counters(pool, 4)
        assert pool.map((names[number % 4], 1) for number in range(200)) == [number // 4 + 1 for number in range(200)]
        assert pool.statistics()["restarts"] >= 2
    with pool_of(max_rss_mb=90) as pool:
        moody(pool, "leaky")
        pids = [pool.submit("leaky", ["leak"]).result() for _ in range(4)]
        assert len(set(pids)) >= 2


def test_threads_in_a_worker_let_agents_wait_together() -> None:
    with pool_of("hybrid", threads=8) as pool:
        moody(pool, *(f"m{number}" for number in range(8)))
        for number in range(8):
            pool.add(f"p{number}", f"{CODE}:Patient")
        pool.map((f"m{number}", ["echo", 1]) for number in range(8))
        places = pool.map((f"m{number}", ["where"]) for number in range(8))
        assert len({pid for pid, _ in places}) == 1
        waits = [pool.submit(f"p{number}", 0.2) for number in range(8)]
        sleeps = [pool.submit(f"m{number}", ["sleep", 0.2]) for number in range(8)]
        assert {step.result() for step in waits + sleeps} == {"waited", "slept"}
        bystander = pool.submit("m1", ["sleep", 0.3])
        guilty = pool.submit("m0", ["segfault"])
        with pytest.raises(AgentCrashed):
            guilty.result()
        assert bystander.result() == "slept"  # it was suspected, and tried again alone


async def test_asyncio_awaits_steps_and_refuses_another_loop() -> None:
    async with pool_of() as pool:
        names = counters(pool, 5)
        results = await asyncio.gather(*(pool.step(name, 1) for name in names for _ in range(4)))
        assert sorted(results) == [1] * 5 + [2] * 5 + [3] * 5 + [4] * 5

        def elsewhere() -> None:
            with pytest.raises(PoolError, match="another event loop"):
                asyncio.run(pool.step(names[0], 1))
            assert pool.submit(names[0], 1).result() == 5

        await asyncio.to_thread(elsewhere)
    with pytest.raises(PoolClosedError):
        await pool.step(names[0], 1)


def test_closing_fails_what_waits_and_a_worker_that_can_not_live_closes_the_pool() -> None:
    pool = pool_of(max_restarts=1)
    with pytest.raises(PoolError, match="not started"):
        pool.add("a", f"{CODE}:Moody")
    with pool:
        moody(pool, "a")
        for _ in range(2):
            with pytest.raises(AgentCrashed):
                pool.submit("a", ["leave"]).result()
        with pytest.raises(PoolClosedError, match="lost its last worker"):
            pool.submit("a", ["echo", 1]).result()
    pool = pool_of().start()
    moody(pool, "a")
    waiting = [pool.submit("a", ["sleep", 0.05]) for _ in range(100)]
    pool.close()
    pool.close()
    assert any(isinstance(step.exception(), PoolClosedError) for step in waiting)
    with pytest.raises(PoolClosedError):
        pool.submit("a", 1)
    with pytest.raises(PoolError):
        pool.start()


def test_a_forked_child_may_not_use_the_pool() -> None:
    code = (
        "import os\nfrom ringline.agents import AgentPool\n"
        "if __name__ == '__main__':\n"
        "    with AgentPool('inline') as pool:\n"
        "        if os.fork() == 0:\n"
        "            try:\n                pool.add('a', 'm:C')\n"
        "            except Exception as error:\n                print(type(error).__name__, error, flush=True)\n"
        "            os._exit(0)\n        os.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "PoolError this pool belongs to the parent process" in done.stdout


def test_the_documented_pool_of_processes() -> None:
    with ProcessBasedAgentPool(1, inference=f"{CODE}:inference", paths=[ROOT]) as pool:
        assert pool.run_agent_inference("a1", 21).get(timeout=60) == 42
        assert [pool.run_agent_inference(f"a{number}", number).result() for number in range(5)] == [0, 2, 4, 6, 8]
        cache = pool.belief_cache
        assert {key: cache[key] for key in cache} == {f"a{number}": number for number in range(5)}
        before = cache.versions()
        assert pool.run_agent_inference("a3", 30).result() == 60
        changed = {key for key, version in cache.versions().items() if version > before[key]}
        assert changed == {"a3"}
        entry = cache.read("a3")
        assert entry is not None
        assert entry.value == 30
        assert cache.compare_and_set("a3", 31, before["a3"]) is None  # the process wrote since
        assert cache.compare_and_set("a3", 31, entry.version) is not None

        async def awaited() -> list[Any]:
            return await asyncio.gather(*(pool.run_agent_inference(f"a{number}", number) for number in range(5)))

        assert asyncio.run(awaited()) == [0, 2, 4, 6, 8]
    assert pool.num_processes == 1


def test_a_hundred_and_fifty_agents_live_in_two_hybrid_workers_through_the_death_of_one() -> None:
    with pool_of("hybrid", workers=2) as pool:
        names = counters(pool, 150)
        for turn in range(1, 4):
            assert pool.map((name, 1) for name in names) == [turn] * 150
        steps = [pool.submit(name, 1) for name in names]
        kill_one(pool)
        # Steps that ran when it was killed are tried again one by one; that one which is blamed for nothing is answered too.
        results = [step.result() if step.exception() is None else None for step in steps]
        assert sum(result is None for result in results) <= 1
        assert {result for result in results if result is not None} == {4}
        assert all(total in (4, 5) for total in pool.map((name, 1) for name in names))
        facts = pool.facts()
        assert [worker.agents for worker in facts.workers] == [75, 75]
        assert (facts.waiting, facts.anew) == (0, 0)


def test_a_pool_goes_on_through_deaths_and_renewals_and_counts_each_answered_step() -> None:
    """Three rounds; RINGLINE_POOL_SOAK=1000 makes it an hour's soak, in which memory must not grow either."""
    rounds = int(os.environ.get("RINGLINE_POOL_SOAK", "3"))
    with pool_of("hybrid", workers=2, threads=4, max_tasks_per_worker=400, max_restarts=100_000) as pool:
        names = counters(pool, 30)
        answered = dict.fromkeys(names, 0)
        sizes: list[int] = []
        for turn in range(rounds):
            steps = [(name, pool.submit(name, 1)) for _ in range(5) for name in names]
            next(as_completed([step for _, step in steps]))
            kill_one(pool, turn)
            for name, step in steps:
                error = step.exception()
                assert error is None or isinstance(error, AgentCrashed)
                answered[name] += error is None
            sizes.append(psutil.Process().memory_info().rss)
        totals = dict(zip(names, pool.map((name, 0) for name in names), strict=True))
        assert all(answered[name] <= totals[name] <= answered[name] + rounds for name in names)
        assert sum(totals.values()) - sum(answered.values()) <= rounds  # one may have been counted and then killed
        assert pool.facts().waiting == 0
        if rounds >= 100:
            assert sizes[-1] < 1.1 * sizes[rounds // 4]


def test_a_pool_whose_loop_has_ended_refuses_steps_and_leaves_nothing() -> None:
    pool = pool_of(workers=1).start()
    (name,) = counters(pool, 1)
    assert pool.submit(name, 1).result() == 1
    backend: Any = pool._backend
    backend._loop.call_soon_threadsafe(backend._loop.stop)
    backend._thread.join()
    with pytest.raises(PoolClosedError, match="the pool was closed"):
        pool.submit(name, 1).result()
    pool.close()
    with pytest.raises(PoolClosedError):
        pool.submit(name, 1)


def test_what_workers_log_names_the_agent(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGLINE_LOG_FORMAT", "json")
    caplog.set_level(logging.INFO, logger="ringline.agents")
    with pool_of() as pool:
        pool.add("talker", "tests.integration.agents_code.chatty:Remark").result()
        assert pool.submit("talker", "spoken").result() == "spoken"
        moody(pool, "bad")
        with pytest.raises(AgentCrashed):
            pool.submit("bad", ["leave"]).result()
    ours = [record for record in caplog.records if record.name == "ringline.agents"]
    lines = [record for record in ours if "remark spoken" in record.getMessage()]
    assert [record.worker for record in lines] == ["w0"]  # type: ignore[attr-defined]
    assert json.loads(lines[0].getMessage())["agent_id"] == "talker"
    (blamed,) = [record for record in ours if "has ended its worker" in record.getMessage()]
    assert (blamed.agent_id, blamed.worker, blamed.exit_code) == ("bad", "w0", 3)  # type: ignore[attr-defined]
    assert blamed.pid > 0  # type: ignore[attr-defined]
