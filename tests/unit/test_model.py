"""The models of the shared-memory protocol: they follow the C code step by step, and their quick part holds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model import run as runner
from tests.helpers.tree import ROOT

MODEL = ROOT / "model"
MODELS = sorted(MODEL.glob("*.pml"))
SOURCES = sorted((ROOT / "node_runtime/ringline/shm/csrc").glob("*.[ch]"))
STEP = re.compile(r"\b(?:FP_)?([A-HLNRW]\d)\b")


def text(paths: list[Path]) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def modelled() -> set[str]:
    return set(re.findall(r"\bAT\(([A-Z]\d)\)", text(MODELS)))


def failpoints() -> set[str]:
    names = (ROOT / "node_runtime/ringline/shm/csrc/failpoint.c").read_text()
    return set(re.findall(r'"([A-Z]\d)"', names))


# ---- drift: model, C code and page speak of the same steps ----


def test_each_step_of_the_model_is_named_in_the_c_code() -> None:
    assert modelled() - set(STEP.findall(text(SOURCES))) == set()


def test_each_step_at_which_a_process_can_be_killed_is_in_the_model() -> None:
    assert failpoints() - modelled() == set()


def test_each_step_of_the_model_is_on_the_page() -> None:
    page = (ROOT / "docs/shared-memory.md").read_text()
    ranges = re.findall(r"\b([A-Z])(\d) ?[–…-] ?\1?(\d)\b", page)
    listed = {f"{letter}{i}" for letter, low, high in ranges for i in range(int(low), int(high) + 1)}
    assert modelled() - set(STEP.findall(page)) - listed == set()


def test_each_policy_and_each_state_of_a_gate_is_in_the_model() -> None:
    model = text(MODELS)
    for name in ("BLOCK", "OLDEST", "NEWEST", "DEADLINE", "OPEN", "BUSY", "HOSTED", "FENCED"):
        assert re.search(rf"#define {name} \d", model), name


def test_each_measure_that_can_be_taken_away_is_tried() -> None:
    measures = set(re.findall(r"\bM_[0-9A-Z]+\b", text(MODELS)))  # M_xxx is any of them
    tried = {flag for run in runner.MUTANTS for flag in run.flags.split() if flag.startswith("M_")}
    assert measures == tried


def test_runs_are_told_apart_by_name_and_only_mutants_take_something_away() -> None:
    assert len({run.name for run in runner.ALL}) == len(runner.ALL)
    assert [run.name for run in runner.CONFIGURATIONS if "M_" in run.flags] == []
    assert {run.quick for run in runner.CONFIGURATIONS} == {run.quick for run in runner.MUTANTS} == {True, False}


# ---- reading what Spin says ----

COMPLETE = """
State-vector 172 byte, depth reached 574, errors: 0
   970111 states, stored
  140.830\ttotal actual memory usage
"""
WRONG = """pan:1: assertion violated (refs[n]==0) (at depth 391)
Warning: Search not completed
State-vector 172 byte, depth reached 574, errors: 1
    33473 states, stored
"""
STOPPED = "Depth=  523 States=    2e+06 Transitions= 3e+06 Memory=   200.0\nDepth=  523 States=    3e+06 Transitions= 4e+06 Memory=   300.0\n"
OUT_OF_MEMORY = """pan: reached -DMEMLIM bound
Warning: Search not completed
State-vector 172 byte, depth reached 574, errors: 0
 1.2e+08 states, stored
"""
GOOD, BAD = runner.CONFIGURATIONS[0], runner.MUTANTS[0]


def test_a_complete_search_is_told_from_a_stopped_one() -> None:
    complete, stopped = runner.read(GOOD, COMPLETE, 1), runner.read(GOOD, STOPPED, 1, "9 s, 100 MB")
    assert (complete.states, complete.memory_mb, complete.complete, complete.good) == (970111, 140.83, True, True)
    assert (stopped.states, stopped.errors, stopped.complete, stopped.good) == (3e6, 0, False, True)
    assert not runner.read(GOOD, OUT_OF_MEMORY, 1).complete
    assert (complete.depth, stopped.depth, stopped.memory_mb) == (574, 523, 300)
    assert (runner.seen(complete), runner.seen(stopped)) == ("every state", "a part: limit reached (9 s, 100 MB)")
    hashes = next(run for run in runner.CONFIGURATIONS if run.mode == runner.BITSTATE)
    assert runner.seen(runner.read(hashes, COMPLETE, 1)) == "by hashes"
    assert runner.seen(runner.read(hashes, STOPPED, 1, "9 s, 100 MB")) == "by hashes: limit reached (9 s, 100 MB)"


def test_an_error_is_wrong_for_the_protocol_and_right_for_a_mutant() -> None:
    found = runner.read(GOOD, WRONG, 1)
    assert (found.errors, found.why, found.good) == (1, "assertion violated (refs[n]==0)", False)
    assert runner.read(BAD, WRONG, 1).good
    assert not runner.read(BAD, COMPLETE, 1).good
    assert "WRONG" in found.line()
    assert "ERROR: assertion violated" in runner.seen(found)


def test_a_verifier_that_says_nothing_known_is_an_error() -> None:
    with pytest.raises(SystemExit, match="Segmentation fault"):
        runner.read(GOOD, "Segmentation fault", 1)


def test_the_page_of_results_has_a_row_for_each_run() -> None:
    page = runner.table([runner.read(GOOD, COMPLETE, 2), runner.read(BAD, WRONG, 1), runner.read(BAD, COMPLETE, 1)])
    assert f"| {GOOD.name} | {GOOD.what} | `{GOOD.flags}` | 970,111 | 574 | 141 MB | 2 s | every state |" in page
    assert f"| {BAD.name} | {BAD.what} | 33,473 states | `assertion violated (refs[n]==0)` |" in page
    assert "| NOTHING |" in page
    assert GOOD.name not in page.rpartition("Without a result with this model: ")[2]
    assert runner.CONFIGURATIONS[1].name in page.rpartition("Without a result with this model: ")[2]


def test_the_page_is_written_from_the_last_result_of_each_run_with_this_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs take an hour: those of yesterday count, unless the model or the flags have changed since."""
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/true")
    monkeypatch.setattr(runner, "OUT", tmp_path)
    yesterday = runner.read(GOOD, COMPLETE, 2, "600 s, 4,000 MB")
    runner.folder_of(GOOD).mkdir()
    runner.keep(yesterday)
    assert runner.kept(GOOD) == yesterday
    assert runner.kept(BAD) is None
    for name in ("ringline.pml", "need.pml"):
        shutil.copy(MODEL / name, tmp_path / name)
    monkeypatch.setattr(runner, "HERE", tmp_path)
    monkeypatch.setattr(runner, "check", lambda run, *_: runner.read(run, WRONG, 1))
    assert runner.main([BAD.name, "--write"]) == 0
    assert "1 runs, 33,473 states: all as they must be" in capsys.readouterr().out
    assert f"| {GOOD.name} |" in (tmp_path / "results.md").read_text()
    (tmp_path / "ringline.pml").write_text("another model")
    assert runner.kept(GOOD) is None


def test_runs_are_chosen_by_their_names() -> None:
    assert runner.chosen([]) == list(runner.ALL)
    assert runner.chosen(["need"]) == [run for run in runner.ALL if run.name == "need"]
    assert all(run.quick for run in runner.chosen(["quick"]))
    with pytest.raises(SystemExit, match="no run 'nede'; there are: writer dies"):
        runner.chosen(["nede"])


def test_without_spin_a_sentence_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert runner.main(["quick"]) == 2
    assert "need Spin: install it" in capsys.readouterr().err


def test_the_committed_results_are_those_of_these_runs() -> None:
    """Each row is a run as it is now, and none of them ended otherwise than it must."""
    page = (MODEL / "results.md").read_text()
    rows = [line.split(" | ")[:3] for line in page.splitlines() if line.startswith("| ") and "| about |" not in line]
    configurations = {f"| {run.name}": (run.what, f"`{run.flags}`") for run in runner.CONFIGURATIONS}
    mutants = {f"| {run.name}": run.what for run in runner.MUTANTS}
    assert len(rows) > 15
    for name, what, third in rows:
        if name in configurations:
            assert (what, third) == configurations[name], name
        elif name != "| mutant":
            assert what == mutants[name], name
    assert "ERROR" not in page
    assert "NOTHING" not in page


# ---- the quick part ----


@pytest.mark.skipif(
    shutil.which("spin") is None, reason="spin is not installed: the models are not checked in this run"
)
@pytest.mark.parametrize(
    "run", [run for run in runner.ALL if run.quick and (run.fails or run.model == "need")], ids=lambda run: run.name
)
def test_the_quick_part_of_the_models_holds(run: runner.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "OUT", tmp_path)
    result = runner.check(run, 100, 2000)
    assert result.good, result.line()
    if run.fails:
        assert (tmp_path / re.sub(r"\W+", "-", run.name) / "trail.txt").stat().st_size > 0


def test_the_program_runs_with_nothing_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(MODEL / "run.py"), "--help"], capture_output=True, text=True, check=True
    )
    assert "python3 model/run.py quick" in done.stdout
