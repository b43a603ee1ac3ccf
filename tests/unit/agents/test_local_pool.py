"""Pools in this process: inline, in threads, and chosen by measuring; and the pool of threads for input and output."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from ringline.agents import AgentPool, IOThreadPool, Step
from ringline.agents.auto import choose, judge
from ringline.agents.ledger import Ledger
from ringline.agents.wire import Order, Row, pack_answers, pack_orders, unpack_answers, unpack_orders
from ringline.errors import AgentError, DataError, PoolClosedError, PoolError, StepExpired, StepTimeout

HERE = "tests.integration.agents_code.pooled"
ROOT = str(Path(__file__).parents[3])


def test_inline_runs_in_the_callers_thread() -> None:
    with AgentPool("inline") as pool:
        pool.add("a", f"{HERE}:Moody").result()
        pool.add("b", f"{HERE}:Patient").result()
        assert pool.submit("a", ["where"]).result()[1] == threading.current_thread().name
        assert pool.submit("b", 0.001).result() == "waited"
        with pytest.raises(AgentError, match="a bad mood"):
            pool.submit("a", ["fail"]).result()
        with pytest.raises(AgentError, match="no such agent today"):
            pool.add("c", f"{HERE}:Broken").result()
        assert pool.submit("a", ["believe", "x", 1]).result() == 1
        assert (pool.state["x"], pool.agents, pool.statistics()["steps"]) == (1, ["a", "b", "c"], 4)
        with pytest.raises(StepExpired):
            pool.submit("a", ["where"], deadline=-1).result()
    with pytest.raises(PoolClosedError):
        pool.submit("a", ["where"])


def test_threads_keep_the_order_of_each_agent_and_its_priorities() -> None:
    with AgentPool("thread", threads=3) as pool:
        for name in "abc":
            pool.add(name, f"{HERE}:Counter")
        assert pool.map(("abc"[number % 3], 1) for number in range(30)) == [number // 3 + 1 for number in range(30)]
        pool.add("m", f"{HERE}:Moody")
        telling = pool.submit("m", ["progress"])
        low, high = pool.submit("m", ["echo", 1]), pool.submit("m", ["echo", 2], priority=1)
        order: list[int] = []
        low.add_done_callback(lambda _: order.append(1))
        high.add_done_callback(lambda _: order.append(2))
        while not telling.progress.fraction:
            time.sleep(0.005)
        pool.remove("a")
        assert (low.result(), high.result()) == (["m", 1], ["m", 2])
        assert order == [2, 1]
        waiting = [pool.submit("m", ["sleep", 0.02]) for _ in range(20)]
    assert isinstance(waiting[-1].exception(), PoolClosedError)


@pytest.mark.parametrize(
    ("step_s", "cpu_share", "workers", "executor"),
    [
        (0.01, 0.99, 2, "process"),
        (0.01, 0.7, 2, "hybrid"),
        (0.01, 0.02, 2, "thread"),
        (0.01, 0.99, 1, "thread"),
        (0.00001, 0.99, 2, "inline"),
    ],
)
def test_auto_chooses_by_time_and_share_of_the_processor_and_says_why(
    step_s: float, cpu_share: float, workers: int, executor: str
) -> None:
    choice = judge(step_s, cpu_share, workers)
    assert choice.executor == executor
    assert f"{cpu_share:.0%} of it on the processor" in choice.why


def test_auto_measures_in_a_process_of_its_own_what_may_crash_or_raise() -> None:
    crashed = choose(f"{HERE}:Moody", {}, ["leave"], 2, (ROOT,))
    assert crashed.executor == "process"
    assert "could not be measured (agent '@probe': its worker ended in this step" in crashed.why
    broken = choose(f"{HERE}:Broken", {}, None, 2, (ROOT,))
    assert broken.executor == "process"


def test_auto_measures_an_agent_of_its_own() -> None:
    assert choose(f"{HERE}:Moody", {}, ["sleep", 0.005], 2, (ROOT,)).executor == "thread"
    with AgentPool("auto", workers=1, paths=[ROOT]) as pool:
        pool.add("a", f"{HERE}:Counter").result()
        with pytest.raises(PoolError, match="from the first step on"):
            pool.state["x"]
        assert pool.submit("a", 1).result() == 1  # nothing was counted by the measuring
        assert pool.choice is not None
        assert pool.choice.executor in ("inline", "thread")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"executor": "magic"}, "executor 'magic' is unknown; choose one of inline"),
        ({"workers": 0}, "workers must be a number, between 1 and 31, not 0"),
        ({"workers": 32}, "between 1 and 31"),
        ({"workers": True}, "not True"),
        ({"threads": 65}, "threads must be a number, between 1 and 64"),
        ({"threads": 0}, "threads"),
        ({"max_pending": 0}, "max_pending must be a number, at least 1, not 0"),
        ({"max_rss_mb": -1}, "max_rss_mb"),
        ({"max_rss_mb": float("nan")}, "not nan"),
        ({"max_restarts": "often"}, "not 'often'"),
        ({"state_bytes": 0}, "state_bytes"),
        ({"memory_limit_mb": 0}, "memory_limit_mb"),
        ({"max_message_size": 10}, "max_message_size"),
    ],
)
def test_a_pool_that_can_not_be_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(PoolError, match=said):
        AgentPool(**{"executor": "inline", **wrong})


def test_what_is_no_agent_or_no_step_is_refused_and_leaves_nothing() -> None:
    with AgentPool("inline") as pool:
        for name in ("", "x" * 151, 5, None):
            with pytest.raises(PoolError, match="an agent's id is a text of 1 to 150 bytes"):
                pool.add(name, f"{HERE}:Moody")  # type: ignore[arg-type]
        with pytest.raises(PoolError, match="name its class as a text"):
            pool.add("a", print)  # type: ignore[arg-type]
        with pytest.raises(DataError, match="agent 'a': its arguments"):
            pool.add("a", f"{HERE}:Counter", {"start": object()})
        pool.add("a", f"{HERE}:Moody").result()
        options: list[dict[str, Any]] = [
            {"timeout": -1},
            {"timeout": float("inf")},
            {"deadline": "now"},
            {"priority": "high"},
        ]
        for option in options:
            with pytest.raises(PoolError, match=f"{next(iter(option))} must be a number"):
                pool.submit("a", ["echo", 1], **option)
        assert (pool.agents, pool.statistics()["pending"]) == (["a"], 0)


def test_the_applications_own_classes_need_no_module() -> None:
    with AgentPool("inline") as pool, pytest.raises(AgentError, match="module '__main__' has no 'Nobody'"):
        pool.add("a", "__main__:Nobody").result()


def test_leaving_the_interpreter_is_an_agents_own_error() -> None:
    with AgentPool("thread", threads=1) as pool:
        pool.add("a", f"{HERE}:Moody").result()
        with pytest.raises(AgentError, match="SystemExit: 3"):
            pool.submit("a", ["exit", 3]).result()
        assert pool.submit("a", ["echo", 1]).result() == ["a", 1]


@pytest.mark.parametrize("executor", ["inline", "thread"])
def test_a_step_that_runs_too_long_fails_though_nothing_can_end_it(executor: Any) -> None:
    with AgentPool(executor, threads=2) as pool:
        pool.add("a", f"{HERE}:Moody").result()
        slow = pool.submit("a", ["sleep", 0.2], timeout=0.05)
        with pytest.raises(StepTimeout, match=r"longer than its timeout of 0.05s"):
            slow.result()
        assert pool.submit("a", ["echo", 1], timeout=60).result() == ["a", 1]


def one_in_work(pool: AgentPool) -> tuple[Step, Step]:
    """Have an agent begin a step that ends when it is told to, and another one wait behind it."""
    pool.add("a", f"{HERE}:Moody").result()
    working, waiting = pool.submit("a", ["until_cancelled"]), pool.submit("a", ["echo", 1])
    while not working.progress.fraction:
        time.sleep(0.005)
    return working, waiting


def threads_end() -> None:
    while any(thread.name.startswith("agents-") for thread in threading.enumerate()):
        time.sleep(0.005)


def test_a_thread_that_never_ends_does_not_hold_up_the_end_of_the_pool(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ringline.agents.local._PATIENCE_S", 0.1)
    with AgentPool("thread", threads=1) as pool:
        stuck, waiting = one_in_work(pool)
    assert "agent a never ended its step" in caplog.text
    for step in (stuck, waiting):
        with pytest.raises(PoolClosedError):
            step.result()
    assert not stuck.cancel()  # the agent sees it, and ends at last
    threads_end()


def test_a_step_of_an_agent_that_is_removed_meanwhile_ends_with_the_pool_at_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ringline.agents.local._PATIENCE_S", 0.1)
    with AgentPool("thread", threads=2) as pool:
        stuck, waiting = one_in_work(pool)
        pool.remove("a")
        with pytest.raises(PoolError, match="the pool has no agent 'a'; add it first"):
            pool.submit("a", ["echo", 2])
    for step in (stuck, waiting):
        with pytest.raises(PoolClosedError):
            step.result()
    assert not stuck.cancel()
    threads_end()


@pytest.mark.parametrize("executor", ["inline", "thread"])
def test_a_step_that_comes_while_the_pool_is_closed_fails(executor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with AgentPool(executor, threads=1) as pool:
        pool.add("a", f"{HERE}:Moody").result()
        backend: Any = pool._backend
        submit = backend.submit

        def late(step: Any) -> None:
            pool.close()
            submit(step)

        monkeypatch.setattr(backend, "submit", late)
        step = pool.submit("a", ["echo", 1])
        if executor == "thread":
            with pytest.raises(PoolClosedError):
                step.result(60)
        assert step.done()


def test_what_an_agent_tells_between_its_steps_is_about_none() -> None:
    with AgentPool("inline") as pool:
        pool.add("a", f"{HERE}:Moody").result()
        step = pool.submit("a", ["echo", 1])
        assert step.done()
        backend: Any = pool._backend
        report = backend._stage._seats["a"].agent.report
        report(0.5, "half way")
        assert not report.cancelled
        assert step.progress.fraction == 0
        assert backend._stage.at_work == []


def test_a_step_that_waits_behind_another_is_cancelled_and_one_in_work_is_told() -> None:
    with AgentPool("thread", threads=1) as pool:
        working, waiting = one_in_work(pool)
        assert waiting.cancel()
        assert not working.cancel()
        assert working.result() == "told to stop"
        with pytest.raises(CancelledError):
            waiting.result()


def test_the_io_pool_queries_writes_in_batches_and_sends(tmp_path: Path) -> None:
    sent: list[str] = []
    file = tmp_path / "history.db"
    with IOThreadPool(database=file, send=sent.append) as pool:
        assert (pool.num_threads, pool.executor._max_workers) == (20, 20)
        pool.query_database("create table step (agent text, energy real)").result()
        pool.write_database("insert into step values (?, ?)", [(f"a{each}", each / 2) for each in range(100)]).result()
        rows = [pool.query_database("select energy from step where agent = ?", [f"a{each}"]) for each in range(40)]
        assert [row.result() for row in rows] == [[(each / 2,)] for each in range(40)]
        pool.send_websocket("hello").result()
        with pytest.raises(sqlite3.OperationalError):
            pool.query_database("select nothing from nowhere").result()
        assert pool.submit(max, 1, 2).result() == 2
    assert sent == ["hello"]
    with pytest.raises(PoolClosedError):
        pool.submit(max, 1, 2)


def test_an_io_pool_without_a_database_or_a_socket_says_so() -> None:
    with IOThreadPool(2) as pool:
        with pytest.raises(PoolError, match="has no database"):
            pool.query_database("select 1").result()
        with pytest.raises(PoolError, match="has no websocket"):
            pool.send_websocket("x")


def test_a_ledger_shows_who_is_in_which_step(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", 2, create=True)
    other = Ledger(tmp_path / "ledger", 2)
    before = time.monotonic_ns()
    other.begin(1, 0, 7)
    other.begin(1, 3, 8)
    assert ledger.running(0) == []
    assert [note.step for note in ledger.running(1)] == [7, 8]
    assert ledger.running(1)[0].began_ns >= before
    other.end(1, 0)
    assert [note.step for note in ledger.running(1)] == [8]
    ledger.clear(1)
    assert other.running(1) == []
    ledger.cancel(1, 511, 9)
    assert [other.cancelled(worker, 511, step) for worker, step in ((1, 9), (1, 8), (0, 9))] == [True, False, False]
    ledger.close()
    other.close()


def test_batches_come_back_and_anything_else_is_refused() -> None:
    steps = [Order(7, 1 << 60, 3, 511, b"ab"), Order(8, 0, 4, 0, b"")]
    orders = unpack_orders(pack_orders(2, 9, [[3, "a", "m:C", {"x": 1}, False]], steps))
    assert (orders.epoch, orders.others) == (2, [[3, "a", "m:C", {"x": 1}, False]])
    assert [step._replace(blob=bytes(step.blob)) for step in orders.steps] == steps
    whole = pack_answers(1, 1 << 40, 3, [], [Row(7, 0, 12, b"c"), Row(8, 1, 0xFFFFFFFF, b"")])
    answers = unpack_answers(whole)
    assert (answers.epoch, answers.resident, answers.said) == (1, 1 << 40, [])
    assert [(row.step, row.kind, row.busy_us, bytes(row.blob)) for row in answers.rows] == [
        (7, 0, 12, b"c"),
        (8, 1, 0xFFFFFFFF, b""),
    ]
    for bad in (b"", *(whole[:length] for length in range(len(whole))), whole + b"x", whole[:24] + b"\xff" * 40):
        with pytest.raises(DataError):
            unpack_answers(bad)
