"""`ringline nodes`: the list, the page of one type, and types from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringline.cli import nodes
from ringline.cli.nodes import config_rows, ports, type_of
from ringline.cli.types import find_type, known_types
from ringline.errors import UnknownNodeTypeError
from ringline.graph.catalog import load_catalog
from tests.helpers.cli import Cli

OWN = '''\
"""A node of one's own."""

from pydantic import BaseModel

from ringline import MultiprocessNode, register_node


@register_node("%s")
class Mine(MultiprocessNode):
    """Does what I want."""

    inputs = {"text": "text"}

    class Config(BaseModel):
        level: int = 3

    def process(self, data):
        return data
'''


def test_the_list_has_every_type_of_the_box_and_its_summary(cli: Cli) -> None:
    text = cli("nodes").out
    for name, entry in load_catalog().items():
        assert name in text
        assert entry["summary"].split()[0] in text


def test_the_json_list_is_the_catalog(cli: Cli) -> None:
    found = cli("nodes", "--json").json
    assert {entry["type"] for entry in found} == set(load_catalog())
    assert all(entry["extra"] in ("multiprocess", "audio", "voice", "video") for entry in found)


def test_a_page_shows_ports_config_and_documentation(cli: Cli) -> None:
    text = cli("nodes", "energy_vad").out
    assert "inputs:  audio" in text
    assert "speech: audio" in text
    assert "hangover_ms" in text
    assert "Example::" in text


def test_a_page_is_found_by_an_alias(cli: Cli) -> None:
    assert cli("nodes", "asr").out.startswith("pocketsphinx_asr: ")
    assert cli("nodes", "asr", "--json").json["type"] == "pocketsphinx_asr"


def test_an_unknown_type_is_answered_with_the_nearest(cli: Cli) -> None:
    outcome = cli("nodes", "energy_vat")
    assert outcome.code == 1
    assert outcome.err.startswith("UnknownNodeTypeError: ")
    assert "energy_vad" in outcome.err


def test_what_is_not_installed_is_said_with_the_command(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "missing", lambda extra: ["pocketsphinx"] if extra == "voice" else [])
    assert "voice (needs pocketsphinx: pip install 'ringline[voice]')" in cli("nodes").out
    assert "pip install 'ringline[voice]'" in cli("nodes", "tts").out
    assert cli("nodes", "tts", "--json").json["installed"] is False


def test_types_of_a_folder_are_listed_as_one_s_own(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text(OWN % "mine_in_a_folder")
    text = cli("nodes", "--path", tmp_path).out
    assert "your own" in text
    assert "Does what I want." in text
    found = cli("nodes", "mine_in_a_folder", "--path", tmp_path, "--json").json
    assert found["config"]["properties"]["level"]["default"] == 3
    assert (found["inputs"], found["outputs"]) == ({"text": "text"}, None)


def test_a_class_is_documented_by_module_and_name(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "own_module_for_nodes.py").write_text(OWN % "mine_by_module")
    assert "Does what I want." in cli("nodes", "own_module_for_nodes:Mine").out


def test_a_file_that_fails_to_import_is_listed_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "broken_one.py").write_text("from ringline import register_node\nregister_node('broken_type')\n1 / 0\n")
    entry = known_types([tmp_path])["broken_type"]
    assert "ZeroDivisionError" in entry["summary"]
    assert "broken_one.py" in entry["summary"]


def test_a_type_that_no_folder_has_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UnknownNodeTypeError):
        find_type("nothing_like_it", [tmp_path])


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        (None, "as connected"),
        ({}, "-"),
        ({"audio": "audio"}, "audio"),
        ({"speech": "audio", "text": "text"}, "speech: audio, text"),
        ({"*": "any"}, "any name: any"),
    ],
)
def test_ports_are_written_briefly(declared: dict[str, str] | None, text: str) -> None:
    assert ports(declared) == text


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer", "minimum": 0, "maximum": 9}, "integer ≥ 0 ≤ 9"),
        ({"type": "number", "exclusiveMinimum": 0}, "number > 0"),
        ({"enum": ["a", 2]}, '"a" | 2'),
        ({"const": True}, "true"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string | null"),
        ({"type": "array", "items": {"type": "string"}}, "array of string"),
        ({}, "any"),
    ],
)
def test_types_of_config_are_written_as_people_do(schema: dict[str, object], text: str) -> None:
    assert type_of(schema) == text


def test_config_rows_mark_what_is_required_and_follow_references() -> None:
    schema = {
        "required": ["path"],
        "properties": {"path": {"type": "string"}, "mode": {"$ref": "#/$defs/Mode", "default": "fast"}},
        "$defs": {"Mode": {"enum": ["fast", "slow"], "description": "How."}},
    }
    assert config_rows(schema) == [
        ("path", "string", "(required)", ""),
        ("mode", '"fast" | "slow"', "fast", "How."),
    ]
