"""The catalog is what the classes say, and every class in the box says enough."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ringline import DataType, MultiprocessNode, NodeLoadError
from ringline.node import catalog
from ringline.node.discovery import CATALOG_FILE
from ringline.node.registry import resolve
from ringline.nodes.support import optional_library

CLASSES = catalog.box_classes()
EACH = pytest.mark.parametrize("name", sorted(CLASSES))


def example_of(cls: type[MultiprocessNode]) -> list[dict[str, Any]]:
    """The manifest fragment in a class's docstring."""
    _, _, text = (cls.__doc__ or "").partition("Example::\n")
    found = yaml.safe_load(text)
    assert isinstance(found, list)
    return found


def test_the_stored_catalog_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert catalog.main([]) == 0
    assert capsys.readouterr().err == ""


def test_an_outdated_catalog_is_reported_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(catalog, "CATALOG_FILE", tmp_path / "catalog.json")
    assert catalog.main([]) == 1
    assert "out of date: run python -m ringline.node.catalog --write" in capsys.readouterr().err
    assert catalog.main(["--write"]) == 0
    assert catalog.main([]) == 0
    assert (tmp_path / "catalog.json").read_bytes() == CATALOG_FILE.read_bytes()


def test_the_box_holds_what_it_should() -> None:
    names = """gain resample mix level_meter energy_vad webrtc_vad audio_file_source tone_source audio_file_sink
        text_match text_template pocketsphinx_asr espeak_tts video_file_source video_pattern_source motion_detector
        face_detector draw video_file_sink batch throttle tee join pass_through round_robin reorder agent_pool"""
    assert set(CLASSES) == set(names.split())


@pytest.mark.parametrize(("alias", "name"), [("asr", "pocketsphinx_asr"), ("tts", "espeak_tts")])
def test_aliases_are_resolved(alias: str, name: str) -> None:
    assert resolve(alias) is resolve(name) is CLASSES[name]
    assert alias in json.loads(CATALOG_FILE.read_bytes())[name]["aliases"]


@EACH
def test_every_node_documents_itself_and_its_example_is_valid(name: str) -> None:
    cls = CLASSES[name]
    entry = catalog.entry(cls)
    assert entry["summary"].endswith(".")
    for node in example_of(cls):
        assert node["type"] in (name, *cls.aliases)
        if cls.Config is not None:
            cls.Config.model_validate(node.get("config", {}))


@EACH
def test_every_option_has_a_description(name: str) -> None:
    for option, schema in catalog.entry(CLASSES[name])["config"].get("properties", {}).items():
        assert len(schema.get("description", "")) > 10, option


@EACH
def test_every_node_declares_its_ports_with_types_and_names_them_in_its_docstring(name: str) -> None:
    cls = CLASSES[name]
    assert cls.inputs is not None
    assert cls.outputs is not None
    for port, kind in {**cls.inputs, **cls.outputs}.items():
        assert kind in (*DataType, "any")
        assert port == "*" or f"`{port}`" in (cls.__doc__ or ""), port


@EACH
def test_unknown_options_are_refused_by_the_schema(name: str) -> None:
    assert catalog.entry(CLASSES[name])["config"]["additionalProperties"] is False


def test_a_node_without_a_schema_and_ports_takes_what_it_is_given() -> None:
    class Bare(MultiprocessNode):
        """Does nothing."""

    found = catalog.entry(Bare)
    assert (found["inputs"], found["outputs"], found["source"]) == (None, None, False)
    assert found["config"] == {"type": "object"}


def test_importing_the_whole_box_needs_no_optional_library() -> None:
    heavy = ["cv2", "av", "soxr", "soundfile", "pocketsphinx", "espeakng_loader", "webrtcvad", "scipy"]
    script = f"import sys; from ringline.node import catalog; catalog.box_classes(); print([n for n in {heavy} if n in sys.modules])"
    path = str(Path(catalog.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONPATH": path}
    )
    assert done.stdout.strip() == "[]"


def test_a_missing_library_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(NodeLoadError, match=r"'espeakng_loader' can't be imported .*pip install \"ringline\[voice\]\""):
        optional_library("espeakng_loader", "voice")
