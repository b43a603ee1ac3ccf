"""`ringline plan`: the layout in numbers, for people and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from ringline.cli.plan import overflow_text
from ringline.cli.shapes import PlanChannelShape
from tests.helpers.cli import BROKEN, TONE, VOICE, Cli, write


def channel(**changes: object) -> PlanChannelShape:
    shape = {
        "index": 0,
        "name": "a_to_b",
        "producer": "a.x",
        "consumer": "b.x",
        "kind": "any",
        "capacity": 1,
        "overflow": "block",
        "block_timeout_ms": 0,
        "deadline_ms": 0,
    }
    return cast("PlanChannelShape", shape | changes)


def test_the_json_describes_nodes_channels_and_budget(cli: Cli, tmp_path: Path) -> None:
    found = cli("plan", "--json", write(tmp_path, VOICE)).json
    assert found["pipeline"] == "voice"
    assert [node["name"] for node in found["nodes"]] == ["vad", "asr", "answer", "tts", "@host"]
    assert {node["heap_bytes"] for node in found["nodes"]} == {32 << 20}
    by_name = {each["name"]: each for each in found["channels"]}
    assert by_name["vad_to_asr"]["capacity"] == 16
    assert by_name["vad_to_asr"]["producer"] == "vad.speech"
    assert by_name["vad_to_asr"]["consumer"] == "asr.audio"
    assert found["inputs"]["microphone"] in by_name
    assert found["outputs"]["speaker"] in by_name
    assert found["heaps_bytes"] == sum(node["heap_bytes"] for node in found["nodes"])
    assert found["heaps_bytes"] < found["arena_bytes"]
    assert found["max_message_bytes"] == 16 << 20
    assert found["node_config_bytes"] > 100


def test_a_node_without_output_has_no_heap(cli: Cli, tmp_path: Path) -> None:
    found = cli("plan", "--json", write(tmp_path, TONE)).json
    assert {node["name"]: node["heap_bytes"] for node in found["nodes"]}["file"] == 0


def test_the_table_says_the_same_in_words(cli: Cli, tmp_path: Path) -> None:
    text = cli("plan", write(tmp_path, TONE)).out
    assert "tone_to_gain" in text
    assert "tone.audio → gain.audio" in text
    assert "drop oldest" in text
    assert "32.0 MiB" in text
    assert "of shmSize 256.0 MiB" in text


def test_settings_from_the_command_line_count(cli: Cli, tmp_path: Path) -> None:
    file = write(tmp_path, TONE)
    assert cli("plan", "--json", file, "--set", "runtime.maxMessageSize=1Mi").json["max_message_bytes"] == 1 << 20
    assert cli("plan", "--json", file, "--set", "runtime.channelCapacity=7").code == 0


def test_a_session_that_does_not_fit_is_an_error_naming_the_setting(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("plan", write(tmp_path, VOICE), "--set", "runtime.shmSize=2Mi")
    assert outcome.code == 1
    assert outcome.err.startswith("ResourceLimitError: ")
    assert "shmSize" in outcome.err


def test_a_broken_manifest_is_an_error_with_every_problem(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("plan", write(tmp_path, BROKEN))
    assert outcome.code == 1
    assert "capacity" in outcome.err
    assert "audo" in outcome.err


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (channel(), "block"),
        (channel(block_timeout_ms=50), "block ≤ 50 ms"),
        (channel(overflow="deadline", deadline_ms=80), "deadline 80 ms"),
        (channel(overflow="drop_newest"), "drop newest"),
    ],
)
def test_what_happens_when_full_is_said_in_words(shape: PlanChannelShape, text: str) -> None:
    assert overflow_text(shape) == text
