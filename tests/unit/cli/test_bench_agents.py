"""`ringline bench agents`: what is asked for is what is measured, and what was measured is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ringline.bench import study
from ringline.bench.study import Plan
from ringline.cli import shapes
from tests.helpers.cli import Cli
from tests.helpers.shapes import misfits


def cell(executor: str, agents: int, **others: Any) -> dict[str, Any]:
    return {
        "executor": executor,
        "lives": executor,
        "kernel": "numpy",
        "load": "scaled",
        "agents": agents,
        "steps_per_s": 412.4,
        "rounds": [400.0, 420.0],
        "ideal_per_s": 500.0,
        "efficiency": 0.825,
        "cpu_percent": 190.0,
        "useful": 0.93,
        "waits": 0.31,
        "p50_delay_ms": 3.0,
        "p95_delay_ms": 12.34,
        **others,
    }


REPORT: dict[str, Any] = {
    "cells": [
        cell("process", 1),
        cell("process", 50, steps_per_s=399.0),
        cell("hybrid", 1),
        cell("hybrid", 50),
        cell(
            "process",
            1,
            kernel="none",
            load="at once",
            efficiency=None,
            ideal_per_s=0.0,
            p50_delay_ms=None,
            p95_delay_ms=None,
        ),
    ],
    "memory": [
        {"executor": name, "agents": n, "pss_mb": 80.0 + n, "rss_mb": 120.0 + n, "processes": 4}
        for name in ("process", "hybrid")
        for n in (1, 50)
    ],
    "deaths": [
        {"executor": "thread", "death": "exit", "others": 19, "survived": False, "failed": 19, "lost": 19, "anew": 0}
    ],
}


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that would have been measured."""
    seen: list[Plan] = []

    def run(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
        say("something")
        seen.append(plan)
        return REPORT

    monkeypatch.setattr(study, "run", run)
    return seen


def test_without_options_everything_is_measured(cli: Cli, plans: list[Plan]) -> None:
    assert cli("bench", "agents").code == 0
    assert plans == [Plan()]


def test_quick_measures_a_few_cells_once(cli: Cli, plans: list[Plan]) -> None:
    assert cli("bench", "agents", "--quick").code == 0
    (plan,) = plans
    assert (plan.agents, plan.kernels, plan.rounds, plan.memory) == ((10,), ("numpy",), 1, (10,))
    assert list(plan.crowds) == ["thread", "process", "hybrid"]


def test_cells_are_chosen_by_options(cli: Cli, plans: list[Plan]) -> None:
    words = (
        "-e",
        "hybrid",
        "-e",
        "process",
        "-a",
        150,
        "-a",
        3,
        "-k",
        "mixed",
        "-l",
        "scaled",
        "--seconds",
        2,
        "--rounds",
        5,
    )
    assert cli("bench", "agents", *words).code == 0
    (plan,) = plans
    assert list(plan.crowds) == ["hybrid", "process"]
    assert (plan.agents, plan.memory) == ((150, 3), (150, 3))
    assert (plan.kernels, plan.loads, plan.seconds, plan.rounds) == (("mixed",), ("scaled",), 2.0, 5)


def test_options_go_before_quick(cli: Cli, plans: list[Plan]) -> None:
    assert cli("bench", "agents", "--quick", "-a", 1, "-k", "none", "-e", "inline").code == 0
    assert (plans[0].agents, plans[0].kernels, list(plans[0].crowds)) == ((1,), ("none",), ["inline"])


def test_the_kernel_that_does_nothing_is_a_name_not_an_absence(cli: Cli, plans: list[Plan]) -> None:
    assert cli("bench", "agents", "-k", "none").code == 0
    assert plans[0].kernels == ("none",)


@pytest.mark.usefixtures("plans")
def test_json_has_the_documented_shape(cli: Cli) -> None:
    outcome = cli("bench", "agents", "--json")
    assert json.loads(outcome.out)["bench"] == "agents"
    assert list(misfits(outcome.json, shapes.AgentsShape)) == []
    assert "measuring something" in outcome.err


@pytest.mark.usefixtures("plans")
def test_the_tables_are_for_people(cli: Cli) -> None:
    lines = cli("bench", "agents").out.splitlines()
    assert "kernel numpy, all agents together ask for all cores: steps/s, share of the ideal, p95 delay" in lines
    row = next(line for line in lines if line.startswith("process") and "399/s" in line)
    assert "412/s 82 % 12.3 ms" in row
    assert any(line.split() == ["process", "412/s"] for line in lines), "nothing is said of an ideal that there is not"
    assert any(line.split() == ["hybrid", "81", "MB", "130", "MB"] for line in lines)
    assert any(line.split()[:4] == ["thread", "exit", "ended", "too"] for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-e", "fibres"], "fibres"),
        (["-k", "pandas"], "pandas"),
        (["-l", "heavy"], "heavy"),
        (["-a", "0"], "--agents"),
        (["--seconds", "0"], "--seconds"),
        (["--rounds", "0"], "--rounds"),
    ],
)
def test_a_mistake_is_told(cli: Cli, words: list[str], message: str) -> None:
    outcome = cli("bench", "agents", *words)
    assert outcome.code == 2
    assert message in outcome.err
