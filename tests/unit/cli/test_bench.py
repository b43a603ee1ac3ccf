"""`ringline bench`: percentiles, the chain that it measures, and one node alone."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from ringline.cli import shapes
from ringline.cli.bench import machine, times
from ringline.cli.measure import chain, messages_for
from ringline.data import DataType, RuntimeData, save_audio_file
from ringline.errors import NodeError
from tests.helpers.cli import Cli


def test_percentiles_are_measured_values() -> None:
    assert times([float(n) for n in range(1, 101)]) == {"count": 100, "p50": 51.0, "p99": 100.0, "max": 100.0}
    assert times([2.0]) == {"count": 1, "p50": 2.0, "p99": 2.0, "max": 2.0}


def test_figures_come_with_the_machine() -> None:
    assert set(machine()) == {"cores", "kernel", "python", "cpu"}


@pytest.mark.parametrize("hops", [1, 3, 16])
def test_the_chain_has_a_channel_more_than_nodes(hops: int) -> None:
    resource = chain(hops, 10 << 20).build().resource
    assert len(resource.spec.nodes) == hops
    assert len(resource.spec.channels) == hops - 1
    assert [end.name for end in resource.spec.inputs] == ["first"]
    assert [end.name for end in resource.spec.outputs] == ["last"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("audio", DataType.AUDIO),
        ("video", DataType.VIDEO),
        ("text", DataType.TEXT),
        ("tensor", DataType.TENSOR),
        ("json", DataType.JSON),
        ("control", DataType.CONTROL),
        ("arrays", DataType.ARRAYS),
        ("any", DataType.AUDIO),
        ("audio|text", DataType.AUDIO),
    ],
)
def test_a_message_is_invented_for_each_data_type(kind: str, expected: DataType) -> None:
    (message,) = messages_for({"inputs": {"in": kind}}, None, None)
    assert message.type == expected
    assert message.size() > 0


def test_a_port_is_chosen_by_name() -> None:
    entry = {"inputs": {"audio": "audio", "video": "video"}}
    assert messages_for(entry, None, "video")[0].type == DataType.VIDEO
    assert messages_for(entry, None, None)[0].type == DataType.AUDIO


def test_a_port_that_takes_anything_gets_what_its_name_says() -> None:
    assert messages_for({"inputs": {"text": "any"}}, None, None)[0].type == DataType.TEXT
    assert messages_for({"inputs": None}, None, "input")[0].type == DataType.AUDIO


def test_a_file_gives_its_messages(tmp_path: Path) -> None:
    save_audio_file(tmp_path / "a.wav", RuntimeData.audio(np.zeros(1600, np.float32), 8000))
    assert len(messages_for({"inputs": {"audio": "audio"}}, str(tmp_path / "a.wav"), None)) == 10
    (tmp_path / "empty.txt").touch()
    with pytest.raises(NodeError, match="no message in"):
        messages_for({"inputs": {"text": "text"}}, str(tmp_path / "empty.txt"), None)


def test_a_node_is_profiled_alone(cli: Cli) -> None:
    outcome = cli("bench", "node", "gain", "--set", "gain_db=-6", "-n", 10, "--json")
    assert outcome.code == 0, outcome.err
    assert set(outcome.json) == set(get_type_hints(shapes.BenchShape))
    start, process = outcome.json["rows"]
    assert (start["name"], start["times"]["count"]) == ("initialize and warmup", 1)
    assert (process["name"], process["times"]["count"], process["bytes"]) == ("process", 10, 3840)
    assert 0 < process["times"]["p50"] <= process["times"]["max"]


def test_a_source_is_profiled_by_what_it_produces(cli: Cli) -> None:
    words = ("bench", "node", "tone_source", "--set", "duration_s=60", "--set", "pace=fast", "-n", 5)
    outcome = cli(*words, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["rows"][1]["times"]["count"] == 5


def test_the_table_is_for_people(cli: Cli) -> None:
    outcome = cli("bench", "node", "text_template", "-n", 3)
    assert outcome.code == 0, outcome.err
    assert "initialize and warmup" in outcome.out
    assert "cores, Linux" in outcome.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["no_such_type"], 1, "UnknownNodeTypeError"),
        (["gain", "--set", "gain_db=loud"], 1, "gain_db"),
        (["gain", "--set", "gain_db"], 2, "PLACE=VALUE"),
        (["gain", "-n", "0"], 2, "--count"),
    ],
)
def test_a_mistake_is_told(cli: Cli, words: list[str], code: int, message: str) -> None:
    outcome = cli("bench", "node", *words)
    assert outcome.code == code
    assert message in outcome.err
