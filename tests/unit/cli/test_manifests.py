"""Choosing a document, `--set`, and the layers of settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from ringline.cli.manifests import (
    Overrides,
    apply_overrides,
    choose_pipeline,
    overridden,
    parse_overrides,
    settings_for,
)
from ringline.errors import ManifestError, SettingsError
from tests.helpers.cli import PASS, TONE, VOICE, write

TWO = f"{TONE}---\n{PASS}"


def test_the_only_document_is_chosen_by_itself(tmp_path: Path) -> None:
    assert choose_pipeline(write(tmp_path, TONE), None).metadata.name == "tone"


def test_one_of_several_documents_is_chosen_by_name(tmp_path: Path) -> None:
    assert choose_pipeline(write(tmp_path, TWO), "pass").metadata.name == "pass"


def test_several_documents_without_a_choice_are_named(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="holds 2 pipelines: tone, pass; choose one with --pipeline"):
        choose_pipeline(write(tmp_path, TWO), None)


def test_a_document_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match=r"no pipeline 'voice' \(it has: tone, pass\)"):
        choose_pipeline(write(tmp_path, TWO), "voice")


def test_a_file_that_is_missing_is_a_manifest_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.yaml"):
        choose_pipeline(tmp_path / "none.yaml", None)


def test_values_of_set_are_yaml() -> None:
    options = ["a.config.n=3", "a.config.f=0.5", "a.config.b=true", "a.config.l=[1, x]", "a.config.s=one two"]
    parsed = parse_overrides(options).config["a"]
    assert [value for _, value in parsed] == [3, 0.5, True, [1, "x"], "one two"]


def test_a_value_may_hold_equals_signs_and_dots() -> None:
    assert parse_overrides(["a.config.text=x=1.5=y"]).config["a"] == ((("text",), "x=1.5=y"),)


def test_settings_are_told_from_node_config() -> None:
    found = parse_overrides(["runtime.shmSize=64Mi", "runtime.config.level=3"])
    assert found == Overrides({"runtime": ((("level",), 3),)}, {"shmSize": "64Mi"})


@pytest.mark.parametrize(
    "option", ["a", "a.config.x", "a..x=1", "=1", "a.b=1", "runtime.x.y=1", "a.b.c=1", "a.config.x=[1", "a.config=1"]
)
def test_a_malformed_set_is_a_usage_error(option: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_overrides([option])


def test_no_set_changes_nothing(tmp_path: Path) -> None:
    pipeline = choose_pipeline(write(tmp_path, TONE), None)
    assert overridden(pipeline, parse_overrides(None)) is pipeline


def test_set_changes_one_key_and_leaves_the_others(tmp_path: Path) -> None:
    text = TONE.replace("{gain_db: -6}", "{gain_db: -6, deep: {a: 1, b: 2}}")
    pipeline = choose_pipeline(write(tmp_path, text), None)
    changed = overridden(pipeline, parse_overrides(["gain.config.gain_db=-12", "gain.config.deep.b=3"]))
    assert changed.spec.nodes[1].config == {"gain_db": -12, "deep": {"a": 1, "b": 3}}
    assert pipeline.spec.nodes[1].config == {"gain_db": -6, "deep": {"a": 1, "b": 2}}
    assert changed.source.file == pipeline.source.file


def test_set_may_begin_a_config(tmp_path: Path) -> None:
    pipeline = choose_pipeline(write(tmp_path, VOICE), None)
    changed = overridden(pipeline, parse_overrides(["answer.config.template=Fine"]))
    assert changed.spec.nodes[2].config == {"template": "Fine"}


def test_a_value_gives_way_to_a_mapping() -> None:
    manifest = {"spec": {"nodes": [{"name": "a", "config": {"x": 1}}]}}
    changed = apply_overrides(manifest, parse_overrides(["a.config.x.y=2"]))
    assert changed["spec"]["nodes"][0]["config"] == {"x": {"y": 2}}


def test_set_of_an_unknown_node_names_those_that_exist() -> None:
    with pytest.raises(typer.BadParameter, match=r"no node 'b' \(there are: a\)"):
        apply_overrides({"spec": {"nodes": [{"name": "a"}]}}, parse_overrides(["b.config.x=1"]))


def test_each_layer_of_settings_wins_over_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "my.toml"
    file.write_text(
        "[multiprocess]\nchannel_capacity = 11\ninit_timeout_secs = 12\nmax_processes_per_session = 13\n"
        "cleanup_grace_period_secs = 14\n"
    )
    text = TONE.replace(
        "spec:\n",
        "spec:\n  runtime: {initTimeoutSeconds: 22, maxProcessesPerSession: 23, cleanupGracePeriodSeconds: 24}\n",
    )
    monkeypatch.setenv("RINGLINE_MAX_PROCESSES_PER_SESSION", "33")
    monkeypatch.setenv("RINGLINE_CLEANUP_GRACE_PERIOD_SECS", "34")
    pipeline = choose_pipeline(write(tmp_path, text), None)
    found = settings_for(pipeline, file, {"cleanupGracePeriodSeconds": 44})
    assert found.channel_capacity == 11
    assert found.init_timeout_secs == 22
    assert found.max_processes_per_session == 33
    assert found.cleanup_grace_period_secs == 44


def test_runtime_toml_of_this_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runtime.toml").write_text("[multiprocess]\nchannel_capacity = 7\n")
    assert settings_for(choose_pipeline(write(tmp_path, TONE), None), None, {}).channel_capacity == 7


def test_a_setting_is_known_by_both_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline = choose_pipeline(write(tmp_path, TONE), None)
    assert settings_for(pipeline, None, {"shmSize": "64Mi"}).shm_segment_size == 64 << 20
    assert settings_for(pipeline, None, {"shm_segment_size": "64Mi"}).shm_segment_size == 64 << 20


def test_an_unknown_setting_is_a_usage_error_and_a_bad_value_a_settings_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline = choose_pipeline(write(tmp_path, TONE), None)
    with pytest.raises(typer.BadParameter, match="no setting 'shmsize'"):
        settings_for(pipeline, None, {"shmsize": 1})
    with pytest.raises(SettingsError, match="channel_capacity"):
        settings_for(pipeline, None, {"channelCapacity": "many"})


KEYS = st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), min_size=1, max_size=4)
PLAIN = (
    st.integers()
    | st.booleans()
    | st.lists(st.integers(), max_size=3)
    | st.from_regex(r"[a-z]+ [a-z]+", fullmatch=True)
)


@given(keys=KEYS, value=PLAIN, before=st.dictionaries(st.sampled_from(["other", "more"]), st.integers()))
def test_any_key_can_be_set_and_no_other_is_touched(keys: list[str], value: object, before: dict[str, int]) -> None:
    manifest: dict[str, Any] = {"spec": {"nodes": [{"name": "a", "config": dict(before)}, {"name": "b"}]}}
    option = f"a.config.{'.'.join(keys)}={json.dumps(value) if not isinstance(value, str) else value}"
    changed = apply_overrides(manifest, parse_overrides([option]))
    found = changed["spec"]["nodes"][0]["config"]
    for name in before.keys() - {keys[0]}:
        assert found[name] == before[name]
    for key in keys:
        found = found[key]
    assert found == value
    assert changed["spec"]["nodes"][1] == {"name": "b"}
    assert manifest["spec"]["nodes"][0]["config"] == before
