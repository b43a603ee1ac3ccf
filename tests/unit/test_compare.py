"""Agents beside other pools: which figures may be compared, when ours is slower, and what the report's rows say."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from benchmarks import agents
from benchmarks.agents import lined, rows
from benchmarks.compare import PEERS, SAME, chance, find, merged, pairs, slower, working
from ringline.bench.study import AGENTS, DEATHS, KERNELS, Plan


def cell(executor: str, rounds: tuple[float, ...], **others: Any) -> dict[str, Any]:
    rate = median(rounds)
    return {
        "executor": executor,
        "lives": executor,
        "kernel": "numpy",
        "load": "scaled",
        "agents": 150,
        "steps_per_s": rate,
        "rounds": list(rounds),
        "ideal_per_s": 500.0,
        "efficiency": rate / 500,
        **others,
    }


def report(*cells: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"schema": "ringline-agents/2", "cells": list(cells), "memory": [], "deaths": [], **others}


def test_an_executor_is_compared_with_the_best_peer_that_offers_the_same() -> None:
    cells = [
        cell("process", (380, 400, 410)),
        cell("futures process", (300, 310, 320)),
        cell("multiprocessing.Pool", (390, 395, 405)),
        cell("futures thread", (490, 495, 499)),
        cell("multiprocessing.Pool", (480, 490, 499), agents=10),
    ]
    (pair,) = pairs(cells)
    assert (pair.executor, pair.peer, pair.agents) == ("process", "multiprocessing.Pool", 150)
    assert pair.ratio == pytest.approx(410 / 405)  # the median of the rounds' ratios
    assert not pair.slower


def test_what_nobody_else_has_is_not_compared() -> None:
    assert (
        list(
            pairs(
                [
                    cell("hybrid", (1, 1, 1)),
                    cell("futures process", (2, 2, 2)),
                    cell("process", (1, 1, 1), kernel="none"),
                ]
            )
        )
        == []
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "slower"),
    [
        ((380, 400, 410), (420, 430, 440), True),
        ((380, 400, 450), (420, 430, 440), False),
        ((300, 400, 500), (320, 440, 550), True),  # each round by itself: what shook both is no difference
        ((419, 419, 419), (420, 420, 420), False),
        ((400, 410, 420), (300, 310, 320), False),
        ((380,), (420,), True),
        ((*[380] * 9, 450), [420] * 10, True),  # equal pools lose nine of ten in one case of a hundred
        ((*[380] * 7, *[450] * 3), [420] * 10, False),
    ],
)
def test_slower_means_beyond_noise(ours: tuple[float, ...], theirs: tuple[float, ...], slower: bool) -> None:
    (pair,) = pairs([cell("thread", ours), cell("futures thread", theirs)])
    assert pair.slower is slower


def test_steps_that_compute_nothing_decide_about_no_bar() -> None:
    cells = [cell("thread", (1, 1, 1), kernel="none"), cell("futures thread", (2, 2, 2), kernel="none")]
    (pair,) = pairs(cells)
    assert pair.slower
    assert working([pair]) == []
    assert slower(report(*cells)) == []
    assert list(agents.again(report(*cells), 0.3)) == []


def test_how_often_equal_pools_lose() -> None:
    assert [chance(lost, 3) for lost in (0, 1, 2, 3)] == [1.0, 0.875, 0.5, 0.125]


def test_what_seems_slower_is_measured_again_beside_its_rivals() -> None:
    found = report(
        cell("process", (300, 310, 320)),
        cell("loky", (400, 410, 420)),
        cell("thread", (200, 210, 220)),
        cell("futures thread", (100, 110, 120)),
        cell("hybrid", (1, 2, 3)),
        cell("hybrid", (1, 2, 3), agents=50),
    )
    alone, plan = agents.again(found, 0.3)
    assert list(alone.crowds) == ["hybrid"]
    assert list(alone.blocks()) == list(plan.blocks())
    assert (alone.rounds, alone.seconds) == agents.HELD
    here = agents.crowds()  # loky only where it is installed
    assert list(plan.crowds) == [
        name for name in ("process", "futures process", "multiprocessing.Pool", "loky") if name in here
    ]
    assert list(plan.blocks()) == [("numpy", 150)]
    assert (plan.loads, plan.deaths, plan.memory, plan.seconds) == (("scaled",), (), (), 0.3)
    ((first, second),) = slower(found)
    assert (first.executor, first.peer, second) == ("process", "loky", None)
    repeated = [cell("process", (500, 510, 520)), cell("loky", (400, 410, 420))]
    ((_, second),) = slower({**found, "again": repeated})
    assert second is not None
    assert not second.slower


def test_a_peer_that_did_no_step_is_no_rival() -> None:
    (pair,) = pairs([cell("thread", (1, 1, 1)), cell("futures thread", (0, 0, 0))])
    assert pair.ratio == float("inf")
    assert not pair.slower


def test_everything_that_is_compared_is_a_known_peer() -> None:
    assert {peer for peers in SAME.values() for peer in peers} == set(PEERS)


def test_reports_of_several_runs_are_put_together() -> None:
    first = report(cell("thread", (1, 1, 1)), machine={"cpus": [0], "load_1min": 0.5}, seconds=10.0)
    second = report(cell("hybrid", (2, 2, 2)), machine={"cpus": [0], "load_1min": 3.5}, seconds=5.0)
    whole = merged([first, second])
    assert [each["executor"] for each in whole["cells"]] == ["thread", "hybrid"]
    assert whole["machine"] == first["machine"]
    assert (whole["loads_1min"], whole["seconds"]) == ([0.5, 3.5], 15.0)


def test_a_report_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="a report of the schema 'old', not 'ringline-agents/2'; measure again"):
        merged([report(), {**report(), "schema": "old"}])


def test_a_cell_is_found_by_its_place() -> None:
    cells = [cell("hybrid", (1, 1, 1)), cell("hybrid", (2, 2, 2), agents=10)]
    assert find(cells, "hybrid", "numpy", "scaled", 10) is cells[1]
    assert find(cells, "hybrid", "python", "scaled", 10) is None


def test_rows_hold_the_pool_to_its_bars() -> None:
    found = report(
        cell("hybrid", (390, 400, 410)),
        cell("process", (380, 390, 395)),
        cell("futures process", (200, 210, 220)),
        memory=[
            {"executor": "hybrid", "agents": 150, "pss_mb": 140.0, "processes": 4},
            {"executor": "process each, fork", "agents": 150, "pss_mb": 1100.0, "processes": 151},
        ],
        deaths=[
            {
                "executor": "thread",
                "death": "exit",
                "others": 19,
                "survived": False,
                "failed": 19,
                "lost": 19,
                "anew": 0,
            }
        ],
    )
    by_name = {row.name: row for row in rows(found)}
    compared = by_name["process, numpy, scaled, 150 agents: a step of the whole pool"]
    assert compared.met is True
    assert compared.bar is not None
    assert compared.bar.text == "futures process, its slowest round"
    assert by_name["hybrid, numpy, scaled, 150 agents: a step of the whole pool"].met is True
    assert by_name["hybrid, 150 agents: memory"].met is True
    assert by_name["process each, fork, 150 agents: memory"].bar is None
    assert by_name["thread, one agent dies (exit): others lost"].values == [19]


def test_a_hybrid_pool_that_wastes_a_quarter_misses_its_bar() -> None:
    (row,) = rows(report(cell("hybrid", (370, 374, 380))))
    assert row.met is False
    (row,) = rows(report(cell("hybrid", (370, 376, 380))))
    assert row.met is True


def test_what_did_no_step_is_held_to_nothing() -> None:
    cells = [cell("process", (0, 0, 0)), cell("loky", (0, 0, 0)), cell("hybrid", (0, 0, 0))]
    (row,) = rows(report(*cells))
    assert (row.values, row.bar) == ([], None)


def test_a_report_is_written_with_a_line_for_each_row() -> None:
    found = report(cell("hybrid", (1, 2, 3)), cell("thread", (1, 2, 3)))
    text = lined(found)
    assert json.loads(text) == found
    assert sum('"executor"' in line for line in text.splitlines()) == 2


def test_a_peer_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "installed", lambda package: package != "loky")
    assert "loky" not in agents.crowds()
    assert {"thread", "hybrid", "multiprocessing.Pool"} <= set(agents.crowds())
    assert [(row.name, row.skipped) for row in agents.absent()] == [("loky", "not installed; pip install loky")]


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """What would have been measured."""
    seen: list[Plan] = []

    def measured(plan: Plan, each: Any) -> dict[str, Any]:
        assert each == plan.memory
        seen.append(plan)
        return report(*(cell("inline", (1, 2, 3), kernel=kernel) for kernel in plan.kernels), seconds=1.5)

    monkeypatch.setattr(agents, "report", measured)
    return seen


def test_all_figures_go_to_a_file(tmp_path: Path, plans: list[Plan]) -> None:
    file = tmp_path / "figures.json"
    assert agents.main(["--json", str(file)]) == 0
    assert [kernel for plan in plans for kernel in plan.kernels] == list(KERNELS)
    assert {tuple(plan.agents) for plan in plans} == {AGENTS}
    assert [(plan.deaths, plan.memory) for plan in plans] == [*[((), ())] * len(KERNELS), (DEATHS, ()), ((), AGENTS)]
    found = json.loads(file.read_text(encoding="utf-8"))
    assert [row["kernel"] for row in found["cells"]] == list(KERNELS)
    assert found["seconds"] == 1.5 * (len(KERNELS) + 2)


def test_cells_can_be_measured_alone(tmp_path: Path, plans: list[Plan]) -> None:
    words = ["--part", "cells", "--kernel", "numpy", "--agents", "10", "--rounds", "2", "--seconds", "0.1"]
    assert agents.main(["--json", str(tmp_path / "f"), *words]) == 0
    (plan,) = plans
    assert (plan.kernels, plan.agents, plan.rounds, plan.seconds) == (("numpy",), (10,), 2, 0.1)
    assert (plan.deaths, plan.memory) == ((), ())


def test_memory_and_deaths_can_be_measured_alone(tmp_path: Path, plans: list[Plan]) -> None:
    assert agents.main(["--json", str(tmp_path / "f"), "--part", "memory", "--agents", "10"]) == 0
    assert [list(plan.blocks()) for plan in plans] == [[], []]
    assert [(plan.deaths, plan.memory) for plan in plans] == [(DEATHS, ()), ((), (10,))]


def test_what_was_measured_again_is_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(plan: Plan, _: Any) -> dict[str, Any]:
        return report(cell("thread", (100,) * plan.rounds), cell("futures thread", (200,) * plan.rounds))

    monkeypatch.setattr(agents, "report", measured)
    file = tmp_path / "figures.json"
    assert agents.main(["--json", str(file), "--part", "cells", "--kernel", "numpy"]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert [len(row["rounds"]) for row in found["cells"]] == [5, 5]
    assert [len(row["rounds"]) for row in found["again"]] == [agents.AGAIN, agents.AGAIN]


def test_what_was_measured_stays_when_the_rest_is_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(plan: Plan, _: Any) -> dict[str, Any]:
        if "python" in plan.kernels:
            raise KeyboardInterrupt
        return report(cell("hybrid", (1, 2, 3), kernel=plan.kernels[0]), seconds=1.0)

    monkeypatch.setattr(agents, "report", broken)
    file = tmp_path / "figures.json"
    with pytest.raises(KeyboardInterrupt):
        agents.main(["--json", str(file), "--kernel", "numpy", "--kernel", "python"])
    assert [row["kernel"] for row in json.loads(file.read_text(encoding="utf-8"))["cells"]] == ["numpy"]


def test_single_operations_of_all_reports_are_kept() -> None:
    row = {"operation": "threads: put into a queue and get", "us": 0.1}
    assert merged([report(), {**report(), "operations": [row]}])["operations"] == [row]
