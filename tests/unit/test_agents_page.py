"""docs/agents-performance.md: made of measured figures by its generator, and of nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from docs import generate_agents
from docs.agents_claims import NOT_MEASURED, claims
from docs.generate_agents import FIGURES, IMAGES, PAGE, charts, page, table

RATES = {
    "inline": 100.0,
    "thread": 250.0,
    "process": 400.0,
    "hybrid": 450.0,
    "multiprocessing.Pool": 390.0,
    "futures thread": 240.0,
}


def cell(executor: str, kernel: str, load: str, agents: int, **others: Any) -> dict[str, Any]:
    rate = RATES[executor]
    return {
        "executor": executor,
        "lives": executor,
        "kernel": kernel,
        "load": load,
        "agents": agents,
        "steps_per_s": rate,
        "rounds": [rate - 5, rate, rate + 5],
        "ideal_per_s": 500.0,
        "efficiency": rate / 500 if kernel != "none" else None,
        "cpu_percent": 150.0,
        "useful": 0.9 if kernel != "none" else None,
        "p50_delay_ms": 0.2,
        "p95_delay_ms": 40.0,
        **others,
    }


def report() -> dict[str, Any]:
    places = [
        (kernel, load, agents)
        for kernel in ("numpy", "mixed")
        for load in ("quarter", "scaled")
        for agents in (1, 50, 150)
    ]
    places += [("none", "at once", 1), ("none", "at once", 150)]
    sizes = {
        "inline": 40.0,
        "thread": 50.0,
        "hybrid": 130.0,
        "process each, fork": 1000.0,
        "process each, spawn": 2000.0,
    }
    return {
        "schema": "ringline-agents/2",
        "again": [],
        "machine": {
            "cpus": [0, 1],
            "cpu": "a CPU",
            "kernel": "6.1",
            "python": "3.11.7",
            "load_1min": 0.5,
            "packages": {"numpy": "2.0"},
        },
        "rounds": 3,
        "seconds_per_round": 0.4,
        "seconds": 0.0,
        "loads_1min": [0.5, 3.5],
        "cells": [
            *(cell(name, *place) for place in places for name in RATES if name != "inline"),
            cell("inline", "mixed", "scaled", 1, waits=0.32),
        ],
        "memory": [
            {
                "executor": name,
                "agents": agents,
                "pss_mb": size * (agents / 50 if "each" in name else 1),
                "rss_mb": 2 * size,
                "processes": 4,
            }
            for name, size in sizes.items()
            for agents in (50, 150)
        ],
        "operations": [
            {"operation": name, "us": us}
            for name, us in {
                "threads: read a shared value under a lock": 0.06,
                "threads: put into a queue and get": 0.5,
                "processes: multiprocessing.Queue, there and back": 70.0,
                "processes: read from SharedState": 9.0,
                "a step, batching on": 40.0,
                "a step, batching off": 160.0,
                "numbers, as an array in shared memory": 1000.0,
                "numbers, as a list": 20_000.0,
                "numbers read from shared state": 500.0,
            }.items()
        ],
        "deaths": [
            {
                "executor": name,
                "death": "exit",
                "others": 19,
                "survived": survived,
                "failed": lost,
                "lost": lost,
                "anew": anew,
            }
            for name, survived, lost, anew in (
                ("thread", False, 19, 0),
                ("process", True, 0, 0),
                ("hybrid", True, 0, 2),
                ("futures process", True, 19, 0),
            )
        ],
    }


def row_of(text: str, beginning: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {beginning}"))
    return [part.strip() for part in line.strip("|").split("|")]


def test_the_page_and_its_charts_are_made_of_the_figures() -> None:
    found = json.loads(FIGURES.read_text(encoding="utf-8"))
    assert PAGE.read_text(encoding="utf-8") == page(found), "run: python3 docs/generate_agents.py"
    for name, text in charts(found).items():
        assert (IMAGES / name).read_text(encoding="utf-8") == text, "run: python3 docs/generate_agents.py"


def test_every_chart_of_the_page_exists() -> None:
    named = set(re.findall(r"\(images/(agents-[a-z]+\.svg)\)", PAGE.read_text(encoding="utf-8")))
    assert named == set(charts(json.loads(FIGURES.read_text(encoding="utf-8"))))
    assert all((IMAGES / name).is_file() for name in named)


def test_each_cell_is_in_the_tables() -> None:
    text = page(report())
    assert text.count("400/s, 80 %, 40 ms, 150 %, 90 % useful") == 2 * 2 * 3
    assert row_of(text, "**hybrid** | 450/s")[1:] == ["450/s, 90 %, 40 ms, 150 %, 90 % useful"] * 3


def test_a_kernel_that_was_not_measured_is_left_out() -> None:
    text = page(report())
    assert "### Pure Python" not in text
    assert "### Numpy" in text


def test_what_auto_chose_is_told() -> None:
    found = report()
    found["cells"].append(cell("hybrid", "numpy", "scaled", 150) | {"executor": "auto", "lives": "hybrid"})
    assert "90 % useful (hybrid)" in page(found)


def test_the_way_there_and_back_is_a_table_of_its_own() -> None:
    _, _, below = page(report()).partition("## The way to an agent and back")
    assert row_of(below, "**process**") == ["**process**", "200 µs", "40000 µs", "400/s"]


def test_single_operations_are_a_table_of_their_own() -> None:
    _, _, below = page(report()).partition("## Single operations")
    assert row_of(below, "processes: read from SharedState")[-1] == "9 µs"


def test_both_sizes_of_memory_are_told() -> None:
    _, _, below = page(report()).partition("## Memory")
    assert row_of(below, "**hybrid**")[1:] == ["130 MB in 4 (260)", "130 MB in 4 (260)"]


def test_bars_are_met_or_missed_by_the_figures() -> None:
    text = page(report())
    assert "- 150 agents, numpy, hybrid, load scaled: 90 % of the ideal; wanted 75%: met." in text
    assert "- 150 agents, hybrid: 130 MB, 1/23.1 of the 3000 MB of a forked process for each; wanted 1/5: met." in text
    found = report()
    for each in found["cells"]:
        each["efficiency"] = each["efficiency"] and 0.5
    found["memory"][3]["pss_mb"] = found["memory"][2]["pss_mb"] = 900.0
    for row in found["memory"]:
        if row["executor"] == "hybrid":
            row["pss_mb"] = 700.0
    text = page(found)
    assert "50 % of the ideal; wanted 75%: **missed**." in text
    found["again"] = [cell("hybrid", "numpy", "scaled", 150, efficiency=0.8)]
    assert "150 agents, numpy, hybrid, load scaled: 80 % of the ideal; wanted 75%: met." in page(found)
    assert "wanted 1/5: **missed**." in text


def test_cells_in_which_a_peer_is_faster_are_named() -> None:
    found = report()
    assert (
        "ours seems slower than the best of them beyond noise in 0; measured again it is in 0 of these: met."
        in page(found)
    )
    for each in found["cells"]:
        if each["executor"] == "multiprocessing.Pool" and (each["kernel"], each["load"], each["agents"]) == (
            "numpy",
            "scaled",
            1,
        ):
            each |= {"rounds": [480.0, 490.0, 499.0], "steps_per_s": 490.0}
    text = page(found)
    assert "beyond noise in 1; measured again it is in 0 of these, and 1 were not measured again: **missed**." in text
    assert row_of(text, "process | numpy")[-4:] == ["multiprocessing.Pool", "0.82", "not measured", ""]
    place = ("numpy", "scaled", 1)
    found["again"] = [cell("process", *place), cell("multiprocessing.Pool", *place)]
    text = page(found)
    assert "measured again it is in 0 of these: met." in text
    assert row_of(text, "process | numpy")[-3:] == ["0.82", "1.03", "no"]


def test_a_peer_s_agents_have_nothing_to_remember() -> None:
    _, _, below = page(report()).partition("## One agent dies")
    assert row_of(below, "futures process")[-1] == "keeps none"
    assert row_of(below, "**hybrid**")[-1] == "2"


@pytest.mark.parametrize(
    ("claim", "answer"),
    [
        ("threads, efficiency", "50, –, –, 50 % (numpy, load quarter)"),
        ("processes, the same", "80, –, –, 80 % (numpy, load scaled)"),
        ("hybrid, the same", "90, –, –, 90 % (numpy, load scaled)"),
        ("processor in use", "75, 75, 75 % of 2 cores (numpy)"),
        (
            "agents that threads",
            "0, all 150, all 150: the most of those measured with 75% of the ideal (mixed, load scaled)",
        ),
        ("throughput of hybrid", "1.8 (numpy), 1.8 (mixed) with 150 agents; 2 cores allow 2"),
        ("memory of a thread", "0.50 MB"),
        ("memory of a process", "40.0 MB (spawn), 20.0 MB (fork)"),
        ("50 agents: a process each", "40 times (spawn), 20 times (fork)"),
        ("memory per agent", "1.0 MB, 20.0 MB, 2.6 MB"),
        ("way to an agent", "200 µs, 200 µs, 200 µs: a whole step, there and back"),
        ("one operation, threads", "0.06 µs, 0.5 µs"),
        ("one operation, processes", "70 µs, 9 µs, –"),
        (
            "zero-copy",
            (
                "4.0 times as long batching off, not batching on; 20.0 times as long as a list, not as an array; "
                "2.0 times as long as an array, not read from shared state"
            ),
        ),
        ("an agent's work", "68 %, 32 % (mixed)"),
        ("one agent crashes", "19, 0, 2 of 19 others lost or begun anew"),
    ],
)
def test_each_claim_has_its_answer(claim: str, answer: str) -> None:
    assert row_of(claims(report()), claim)[-1] == answer


def test_what_was_not_measured_is_said_to_be_so() -> None:
    found = report()
    found["memory"] = found["deaths"] = found["cells"] = found["operations"] = []
    answered = [line.split(" | ")[-1] for line in claims(found).splitlines()[2:]]
    assert sum(NOT_MEASURED in answer for answer in answered) >= 8
    assert "## Memory" not in page(found)
    assert "## Single operations" not in page(found)


def test_charts_show_shares_delays_and_memory() -> None:
    made = charts(report())
    assert set(made) == {"agents-numpy.svg", "agents-mixed.svg", "agents-delay.svg", "agents-memory.svg"}
    assert all(text.startswith("<svg ") and text.endswith("</svg>\n") for text in made.values())
    assert ">hybrid<" in made["agents-numpy.svg"]
    assert ">process each, fork<" in made["agents-memory.svg"]


def test_the_load_of_the_machine_is_told() -> None:
    assert "its load was 0.5 to 3.5 about these runs" in page(report())


def test_a_table_has_a_column_for_each_head() -> None:
    assert table(["", "a", "b"], [["x", "1", "2"]]) == "|  | a | b |\n| --- | ---: | ---: |\n| x | 1 | 2 |"


def test_reports_become_figures_page_and_charts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate_agents, "ROOT", tmp_path)
    monkeypatch.setattr(generate_agents, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(generate_agents, "FIGURES", tmp_path / "figures" / "agents.json")
    monkeypatch.setattr(generate_agents, "IMAGES", tmp_path / "images")
    whole = report()
    first, second = ({**whole, "cells": part} for part in (whole["cells"][:20], whole["cells"][20:]))
    second |= {"memory": [], "deaths": [], "operations": [], "machine": {**whole["machine"], "load_1min": 3.5}}
    names = []
    for number, part in enumerate((first, second)):
        names.append(str(tmp_path / f"{number}.json"))
        Path(names[-1]).write_text(json.dumps(part), encoding="utf-8")
    assert generate_agents.main(names) == 0
    assert json.loads((tmp_path / "figures" / "agents.json").read_text(encoding="utf-8")) == whole
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == page(whole)
    assert "wrote page.md" in capsys.readouterr().out
    assert generate_agents.main([]) == 0
    assert capsys.readouterr().out == "", "nothing has changed"
