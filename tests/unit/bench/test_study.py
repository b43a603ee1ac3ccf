"""What is measured, in which order, and what the figures are shares of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ringline.bench import study
from ringline.bench.host import crowd_of, obey
from ringline.bench.hosts import Host, HostGoneError, Service, service
from ringline.bench.study import BARE, Cell, Cost, Plan, block, cost_of, died, held, measure, ours, share


def test_every_kernel_is_measured_with_every_number_of_agents() -> None:
    assert list(Plan(agents=(1, 50), kernels=("python", "numpy")).blocks()) == [
        ("python", 1),
        ("python", 50),
        ("numpy", 1),
        ("numpy", 50),
    ]


def test_the_way_alone_is_measured_with_the_fewest_and_the_most_agents() -> None:
    assert list(Plan(agents=(1, 10, 50), kernels=("none",)).blocks()) == [("none", 1), ("none", 50)]
    assert list(Plan(agents=(10,), kernels=("none",)).blocks()) == [("none", 10)]


def test_all_executors_are_crowds() -> None:
    assert ours(("inline", "auto")) == {
        "inline": "ringline.bench.crowds:Pool:inline",
        "auto": "ringline.bench.crowds:Pool:auto",
    }
    assert list(Plan().crowds) == ["inline", "thread", "process", "hybrid", "auto"]


TWO = Cost(cpu_s=0.004, wall_s=0.004, cores=2)
NOBODY = Service("", 0)


def test_a_quarter_of_a_core_is_asked_for_by_each_agent() -> None:
    assert TWO.period_s("quarter", 1) == TWO.period_s("quarter", 200) == pytest.approx(0.016)


@pytest.mark.parametrize(
    ("load", "agents", "expected"),
    [
        ("quarter", 1, 62.5),
        ("quarter", 4, 250.0),
        ("quarter", 8, 500.0),
        ("quarter", 200, 500.0),
        ("scaled", 1, 250.0),
        ("scaled", 2, 500.0),
        ("scaled", 150, 500.0),
    ],
)
def test_the_ideal_is_what_is_asked_for_as_far_as_the_cores_go(load: str, agents: int, expected: float) -> None:
    assert TWO.ideal(load, agents) == pytest.approx(expected)


def test_an_agent_that_waits_is_not_due_before_it_can_have_answered() -> None:
    waiting = Cost(cpu_s=0.003, wall_s=0.005, cores=2)
    assert waiting.period_s("scaled", 1) == 0.005
    assert waiting.ideal("scaled", 1) == pytest.approx(200.0)
    assert waiting.ideal("scaled", 150) == pytest.approx(2 / 0.003), "others work while one waits"


def test_a_cell_tells_medians_and_the_spread_of_its_rounds() -> None:
    cell = Cell("hybrid", "numpy", "scaled", 50, "hybrid", [90.0, 110.0, 100.0], [200.0, 200.0, 100.0], [1.5, 1.6, 1.7])
    cell.delays = [0.001 * n for n in range(1, 101)]
    row = cell.as_json()
    assert (row["steps_per_s"], row["rounds"]) == (100.0, [90.0, 110.0, 100.0])
    assert row["efficiency"] == 0.55, "the median of each round's own share"
    assert row["cpu_percent"] == 160.0
    assert (row["p50_delay_ms"], row["p95_delay_ms"]) == (50.0, 95.0)
    assert row["useful"] is None


class Measured:
    """A host that has done `answers` steps with `spent` seconds of processor time in one second."""

    def __init__(self, answers: int, spent: float) -> None:
        self._answers = answers
        self._spent = iter((10.0, 10.0 + spent))

    def cpu_seconds(self) -> float:
        return next(self._spent)

    def ask(self, do: str, **details: Any) -> dict[str, Any]:
        assert do == "run"
        assert details == {"agents": 150, "period_s": TWO.period_s("scaled", 150), "seconds": 0.8}
        return {"steps": 320, "seconds": 0.8, "delays": [0.1], "answers": self._answers, "lasted": 1.0}


def test_useful_time_is_what_bare_steps_would_have_taken() -> None:
    cell = Cell("hybrid", "numpy", "scaled", 150, "hybrid")
    host: Any = Measured(answers=400, spent=2.0)
    cell.add(measure(host, cell, TWO, 0.8), TWO)
    row = cell.as_json()
    assert (row["steps_per_s"], row["cpu_percent"], row["efficiency"]) == (400.0, 200.0, 0.8)
    assert row["useful"] == 0.8, "400 steps of 4 ms in 2 s"
    assert row["waits"] == 0.0


def test_what_the_service_takes_of_the_cores_is_no_one_s_to_use() -> None:
    asking = Cost(cpu_s=0.003, wall_s=0.005, cores=2, service_s=0.001)
    assert asking.ideal("scaled", 150) == pytest.approx(500.0)
    assert asking.period_s("scaled", 150) == pytest.approx(150 / 500)
    assert asking.period_s("quarter", 150) == 0.012, "an agent asks for a quarter of a core, whatever its service does"
    cell = Cell("hybrid", "mixed", "scaled", 150, "hybrid")
    host: Any = Measured(answers=400, spent=1.5)
    host.ask = lambda *_, **__: {"steps": 320, "seconds": 0.8, "delays": [], "answers": 400, "lasted": 1.0}
    cell.add(measure(host, cell, asking, 0.8), asking)
    row = cell.as_json()
    assert (row["efficiency"], row["useful"], row["waits"]) == (0.8, 0.8, 0.4)


def test_a_round_is_held_against_what_came_before_and_after_it() -> None:
    mean = Cost(0.002, 0.004, 2, 0.001).between(Cost(0.004, 0.006, 2, 0.002))
    assert (mean.cpu_s, mean.wall_s, mean.cores) == (0.003, 0.005, 2)
    assert mean.service_s == pytest.approx(0.0015)


@pytest.mark.parametrize(("agents", "cores", "each"), [(1, 2, 1), (150, 2, 75), (5, 4, 2), (200, 16, 13)])
def test_bare_loops_have_as_many_agents_as_a_crowd(agents: int, cores: int, each: int) -> None:
    assert share(agents, cores) == each


def test_a_cell_without_steps_has_no_delay_and_one_without_work_no_ideal() -> None:
    row = Cell("hybrid", "none", "at once", 1, "hybrid", [0.0], [0.0], [0.1]).as_json()
    assert (row["efficiency"], row["p50_delay_ms"], row["p95_delay_ms"]) == (None, None, None)


def test_a_block_is_measured_in_rounds_by_all_crowds() -> None:
    plan = Plan(crowds={"one": BARE, "two": BARE}, seconds=0.05, rounds=2)
    cells = block(plan, "numpy", 3, NOBODY)
    assert [(cell.crowd, cell.load) for cell in cells] == [
        ("one", "quarter"),
        ("two", "quarter"),
        ("one", "scaled"),
        ("two", "scaled"),
    ]
    for cell in cells:
        assert (cell.lives, cell.agents, len(cell.rates), len(cell.ideals), len(cell.cpu)) == ("bare", 3, 2, 2, 2)
        assert min(cell.ideals) > 0


def test_a_bare_step_s_cost_is_measured_on_all_hosts_at_once() -> None:
    with Host(BARE) as one, Host(BARE) as other:
        for host in (one, other):
            host.ask("settle", agents=3, kernel="python", arguments={})
        cost = cost_of([one, other], 3, 0.2, NOBODY)
    assert (cost.cores, cost.service_s) == (2, 0.0)
    assert 0 < cost.cpu_s <= cost.wall_s


def test_what_the_service_takes_is_measured_with_the_bare_steps() -> None:
    with service() as asked, Host(BARE) as host:
        host.ask("settle", agents=1, kernel="mixed", arguments={"folder": host.folder, "url": asked.url})
        cost = cost_of([host], 1, 0.3, asked)
    assert cost.service_s > 0
    assert cost.wall_s > cost.cpu_s, "it waits for the answer"


def test_the_whole_report_is_made_with_a_crowd_that_waits() -> None:
    told: list[str] = []
    plan = Plan({"bare": BARE}, (2,), ("none", "mixed"), ("scaled",), ("exit",), (2,), seconds=0.1, rounds=1)
    report = study.run(plan, told.append)
    assert told == ["none, 2 agents", "mixed, 2 agents", "memory, 2 agents", "an agent that dies of exit"]
    assert [(cell["kernel"], cell["load"], cell["agents"]) for cell in report["cells"]] == [
        ("none", "at once", 2),
        ("mixed", "scaled", 2),
    ]
    assert report["cells"][1]["ideal_per_s"] > 0
    assert report["memory"][0]["pss_mb"] > 1
    assert report["deaths"] == [
        {"executor": "bare", "death": "exit", "others": 19, "survived": False, "failed": 19, "lost": 19, "anew": 0}
    ]


def test_the_memory_is_that_of_the_application_and_all_its_processes() -> None:
    alone, pool = held("bare", BARE, 1), held("process", ours(("process",))["process"], 4)
    assert alone["processes"] == 1
    assert pool["processes"] > 2
    assert pool["pss_mb"] > alone["pss_mb"] > 0
    assert pool["rss_mb"] > pool["pss_mb"], "its processes share pages"


@pytest.mark.parametrize("death", ["exit", "segfault"])
def test_a_worker_s_agents_come_back_and_remember(death: str) -> None:
    found = died("process", ours(("process",))["process"], death)
    assert found == {
        "executor": "process",
        "death": death,
        "others": 19,
        "survived": True,
        "failed": 0,
        "lost": 0,
        "anew": 0,
    }


def test_a_crowd_is_made_of_a_text_with_its_argument() -> None:
    crowd = crowd_of("ringline.bench.crowds:Pool:inline")
    assert obey(crowd, {"do": "settle", "agents": 2, "kernel": "none", "arguments": {}}) == {"lives": "inline"}
    seen = obey(crowd, {"do": "run", "agents": 2, "period_s": 0.0, "seconds": 0.05})
    crowd.close()
    assert seen["answers"] >= seen["steps"] == len(seen["delays"])
    assert seen["answers"] > 0
    assert 0 < seen["seconds"] < seen["lasted"]


def test_auto_says_what_it_chose() -> None:
    crowd = crowd_of("ringline.bench.crowds:Pool:auto")
    chosen = obey(crowd, {"do": "settle", "agents": 1, "kernel": "none", "arguments": {}})["lives"]
    crowd.close()
    assert chosen in ("inline", "thread", "process", "hybrid")


def test_the_end_of_an_application_is_told_with_its_last_words() -> None:
    with (
        Host("ringline.bench.crowds:NoSuchCrowd") as host,
        pytest.raises(HostGoneError, match="no attribute 'NoSuchCrowd'"),
    ):
        host.ask("settle", agents=1, kernel="none", arguments={})


def test_an_application_leaves_no_folder() -> None:
    with Host(BARE) as host:
        folder = Path(host.folder)
        assert folder.is_dir()
        assert host.cpu_seconds() >= 0
    assert not folder.exists()


class Talking:
    """A crowd whose agents print: it must not be taken for an answer."""

    def settle(self, agents: int, kernel: str, arguments: dict[str, Any]) -> str:
        print('{"lives": "a lie"}', flush=True)
        return "truth"

    def submit(self, agent: int, observation: Any, done: Any) -> None:
        done(agent, observation)

    def close(self) -> None:
        print("bye")


def test_what_agents_print_is_no_answer() -> None:
    with Host("tests.unit.bench.test_study:Talking") as host:
        assert host.ask("settle", agents=1, kernel="none", arguments={}) == {"lives": "truth"}
