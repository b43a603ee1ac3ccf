"""`ringline validate`: every problem of every file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.cli import BROKEN, PASS, TONE, VOICE, Cli, write


def test_a_sound_manifest_is_ok(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("validate", write(tmp_path, VOICE))
    assert outcome.code == 0
    assert outcome.out == f"{tmp_path}/pipeline.yaml: voice: ok (4 nodes, 3 channels)\n"


def test_all_problems_of_a_file_are_printed_not_only_the_first(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("validate", write(tmp_path, BROKEN))
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    for place in (
        "spec.channels[0].capacity",
        "spec.channels[0].to",
        "spec.channels[1].to",
        "spec.nodes[0].config.hangover",
    ):
        assert [line for line in lines if place in line], place
    # Each names its line, as compilers do, so that an editor can go there.
    places = [re.fullmatch(rf"{tmp_path}/pipeline\.yaml:(\d+): .*", line) for line in lines]
    assert [int(place[1]) for place in places if place] == [6, 9, 9, 10]
    assert all(places)


def test_several_files_are_all_checked(cli: Cli, tmp_path: Path) -> None:
    good, bad, absent = write(tmp_path, TONE), write(tmp_path, BROKEN, "broken.yaml"), tmp_path / "absent.yaml"
    outcome = cli("validate", bad, good, absent)
    assert outcome.code == 1
    assert "broken.yaml:9: " in outcome.out
    assert "absent.yaml: " in outcome.out
    assert f"{good}: tone: ok" in outcome.out


def test_several_documents_of_one_file_are_named(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("validate", write(tmp_path, f"{TONE}---\n{PASS}"))
    assert outcome.code == 0
    assert "tone: ok (3 nodes, 2 channels)" in outcome.out
    assert "pass: ok (1 node, 0 channels)" in outcome.out


def test_a_folder_that_does_not_exist_is_found_here(cli: Cli, tmp_path: Path) -> None:
    text = TONE.replace("type: gain,", "type: gain, python: {extraPaths: [nowhere]},")
    outcome = cli("validate", write(tmp_path, text))
    assert outcome.code == 1
    assert "nowhere" in outcome.out


def test_json_lists_pipelines_and_problems(cli: Cli, tmp_path: Path) -> None:
    good, bad = write(tmp_path, TONE), write(tmp_path, BROKEN, "broken.yaml")
    outcome = cli("validate", good, bad, "--json")
    assert outcome.code == 1
    assert outcome.json["ok"] is False
    assert outcome.json["pipelines"] == ["tone"]
    assert {problem["file"] for problem in outcome.json["problems"]} == {str(bad)}
    assert {problem["line"] for problem in outcome.json["problems"]} == {6, 9, 10}
    assert all(problem["place"] and problem["message"] for problem in outcome.json["problems"])


def test_json_of_sound_files_is_ok(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("validate", "--json", write(tmp_path, VOICE))
    assert (outcome.code, outcome.json) == (0, {"ok": True, "pipelines": ["voice"], "problems": [], "warnings": []})


MISSPELT = TONE.replace("type: gain,", "type: gian,")
OWN = """
from ringline import MultiprocessNode, register_node

@register_node("gian")
class Gian(MultiprocessNode):
    pass
"""


def test_a_type_that_looks_misspelt_is_a_warning_and_no_refusal(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("validate", write(tmp_path, MISSPELT))
    assert outcome.code == 0
    warning, ok = outcome.out.splitlines()
    assert warning == (
        f"{tmp_path}/pipeline.yaml:7: tone: spec.nodes[1].type: warning: "
        "nothing that can be seen from here defines 'gian'; did you mean 'gain'?"
    )
    assert ok == f"{tmp_path}/pipeline.yaml: tone: ok (3 nodes, 2 channels)"


def test_json_has_warnings_apart_from_problems(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("validate", "--json", write(tmp_path, MISSPELT))
    assert outcome.code == 0
    assert (outcome.json["ok"], outcome.json["problems"]) == (True, [])
    [warning] = outcome.json["warnings"]
    assert (warning["line"], warning["place"], warning["pipeline"]) == (7, "spec.nodes[1].type", "tone")
    assert "did you mean 'gain'?" in warning["message"]


@pytest.mark.parametrize("folder", ["", "nodes", "mine"])
def test_a_type_of_ones_own_that_can_be_seen_is_no_slip(cli: Cli, tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "own.py").write_text(OWN)
    text = {
        "": MISSPELT,
        "nodes": MISSPELT.replace("spec:\n", "spec:\n  runtime: {python: {extraPaths: [nodes]}}\n"),
        "mine": MISSPELT.replace("type: gian,", "type: gian, python: {extraPaths: [mine]},"),
    }[folder]
    outcome = cli("validate", write(tmp_path, text))
    assert (outcome.code, outcome.out.count("\n")) == (0, 1)


def test_paths_of_the_environment_count_and_bad_settings_are_not_for_validate(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RINGLINE_CHANNEL_CAPACITY", "many")
    assert "warning" in cli("validate", write(tmp_path, MISSPELT)).out
    monkeypatch.delenv("RINGLINE_CHANNEL_CAPACITY")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "own.py").write_text(OWN)
    monkeypatch.setenv("RINGLINE_EXTRA_PATHS", str(tmp_path / "elsewhere"))
    assert "warning" not in cli("validate", write(tmp_path, MISSPELT)).out


@pytest.mark.parametrize("kind", ["my_own_model", "mymodule:Gian", "whisper"])
def test_a_type_that_is_like_no_other_is_left_to_the_node(cli: Cli, tmp_path: Path, kind: str) -> None:
    assert "warning" not in cli("validate", write(tmp_path, TONE.replace("type: gain,", f"type: '{kind}',"))).out


@pytest.mark.parametrize(
    ("kind", "meant"),
    [("pocketsfinx_asr", "pocketsphinx_asr"), ("EnergyVad", "energy_vad"), ("text-match", "text_match")],
)
def test_the_nearest_type_is_named(cli: Cli, tmp_path: Path, kind: str, meant: str) -> None:
    assert (
        f"did you mean '{meant}'?"
        in cli("validate", write(tmp_path, TONE.replace("type: gain,", f"type: {kind},"))).out
    )
