"""What every command prints with `--json` is what its type documents, field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ringline.cli import shapes
from tests.helpers.cli import BROKEN, PASS, TONE, VOICE, Cli, write
from tests.helpers.shapes import misfits

LINES: dict[str, Any] = {
    "progress": shapes.ProgressLine,
    "started": shapes.StartedLine,
    "stats": shapes.StatsLine,
    "moment": shapes.MomentLine,
    "output": shapes.TextLine,
    "exit": shapes.ExitLine,
    "notice": shapes.NoticeLine,
    "summary": shapes.SummaryShape,
}


@pytest.mark.parametrize("text", [TONE, VOICE, PASS])
def test_plan(cli: Cli, tmp_path: Path, text: str) -> None:
    assert list(misfits(cli("plan", write(tmp_path, text), "--json").json, shapes.PlanShape)) == []


@pytest.mark.parametrize("text", [TONE, BROKEN, "nonsense: [", ""])
def test_validate(cli: Cli, tmp_path: Path, text: str) -> None:
    assert list(misfits(cli("validate", write(tmp_path, text), "--json").json, shapes.ValidateShape)) == []


def test_nodes(cli: Cli) -> None:
    assert list(misfits(cli("nodes", "--json").json, list[shapes.NodeTypeShape])) == []
    assert list(misfits(cli("nodes", "mix", "--json").json, shapes.NodeTypeShape)) == []


def test_doctor(cli: Cli) -> None:
    assert list(misfits(cli("doctor", "--json").json, shapes.DoctorShape)) == []


def test_bench(cli: Cli) -> None:
    assert list(misfits(cli("bench", "node", "gain", "-n", 2, "--json").json, shapes.BenchShape)) == []


def test_top(cli: Cli) -> None:
    assert list(misfits(cli("top", "--once", "--json").lines[0], shapes.TopShape)) == []


def test_run(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    words = ("run", write(tmp_path, PASS), "-i", "first=in.txt", "--executor", "inline", "--timeline", "--json")
    lines = cli(*words).lines
    assert {"progress", "started", "moment", "summary"} <= {line["event"] for line in lines}
    assert [misfit for line in lines for misfit in misfits(line, LINES[line["event"]])] == []


def test_run_with_statistics_and_a_failure(cli: Cli, tmp_path: Path) -> None:
    words = ("--executor", "inline", "--interval", 0.1, "--json")
    lines = cli("run", write(tmp_path, TONE.replace("out.wav", "/nowhere/out.wav")), *words).lines
    lines += cli("run", write(tmp_path, TONE), *words).lines
    assert {"stats", "summary"} <= {line["event"] for line in lines}
    assert {line["result"] for line in lines if line["event"] == "summary"} == {"failed", "ended"}
    assert [misfit for line in lines for misfit in misfits(line, LINES[line["event"]])] == []


@pytest.mark.parametrize(
    ("value", "hint", "count"),
    [
        ({"messages": 1, "bytes": 2, "file": None}, shapes.EndShape, 0),
        ({"messages": 1, "bytes": 2, "file": 3}, shapes.EndShape, 1),
        ({"messages": True, "bytes": 2.5, "file": None}, shapes.EndShape, 2),
        ({"messages": 1, "bytes": 2, "file": None, "more": 1}, shapes.EndShape, 1),
        ({}, shapes.EndShape, 3),
        ([], shapes.EndShape, 1),
        ([1, "x"], list[int], 1),
        ({"a": 1, "b": None}, dict[str, int], 1),
        (1, float, 0),
    ],
)
def test_the_measure_itself_finds_what_does_not_fit(value: object, hint: object, count: int) -> None:
    assert len(list(misfits(value, hint))) == count
