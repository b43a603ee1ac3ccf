"""The catalog of the box, and how the models describe themselves to an API server."""

from __future__ import annotations

import jsonschema
import pytest

from ringline.graph.catalog import declared_ports, find_entry, kinds_match, load_catalog
from ringline.graph.model import MediaPipeline, PipelineSpec
from ringline.graph.source import Source, below, path_of, place_of
from tests.unit.graph.graphs import CATALOG


def test_a_type_is_found_by_name_and_by_alias() -> None:
    assert find_entry(CATALOG, "asr") is find_entry(CATALOG, "recognizer") is CATALOG["asr"]
    assert find_entry(CATALOG, "nothing") is None


def test_ports_are_declared_or_not() -> None:
    assert declared_ports(CATALOG["vad"], "outputs") == {"speech": "audio", "events": "json"}
    assert declared_ports(CATALOG["tone"], "inputs") == {}
    assert declared_ports({"inputs": None}, "inputs") is None
    assert declared_ports(None, "inputs") is None


@pytest.mark.parametrize(
    ("produced", "consumed", "fits"),
    [
        ("audio", "audio", True),
        ("audio", "text", False),
        ("any", "text", True),
        ("text", "any", True),
        ("audio|text", "text", True),
        ("audio|video", "text|json", False),
    ],
)
def test_types_match_when_they_share_a_kind(produced: str, consumed: str, fits: bool) -> None:
    assert kinds_match(produced, consumed) is fits


def test_every_type_in_the_box_has_ports_and_a_valid_schema() -> None:
    for name, entry in load_catalog().items():
        assert entry["summary"], name
        for side in ("inputs", "outputs"):
            assert all(isinstance(kind, str) for kind in (declared_ports(entry, side) or {}).values()), name
        jsonschema.Draft202012Validator.check_schema(entry["config"] or {})


def test_every_list_map_and_text_of_the_resource_is_bounded() -> None:
    schema = MediaPipeline.model_json_schema(by_alias=True)
    open_ended = [place for place, part in walk("", schema) if not bounded(part)]
    assert open_ended == []


def walk(place: str, part: object) -> list[tuple[str, dict[str, object]]]:
    found: list[tuple[str, dict[str, object]]] = []
    if isinstance(part, dict):
        found += [(place, part)] if "type" in part and isinstance(part["type"], str) else []
        for key, inner in part.items():
            found += walk(f"{place}/{key}", inner)
    elif isinstance(part, list):
        for index, inner in enumerate(part):
            found += walk(f"{place}/{index}", inner)
    return found


def bounded(part: dict[str, object]) -> bool:
    needed = {"array": "maxItems", "string": "maxLength", "integer": "maximum"}
    kind = str(part["type"])
    if part.get("x-kubernetes-preserve-unknown-fields") or "enum" in part or "const" in part or "properties" in part:
        return True
    if kind == "object":
        return "maxProperties" in part
    return kind not in needed or needed[kind] in part


def test_every_documented_default_is_the_models() -> None:
    spec = PipelineSpec()
    assert spec.replicas == 1
    assert spec.session.max_restarts == 3
    assert (spec.session.backoff_seconds, spec.session.max_backoff_seconds, spec.session.restart_window_seconds) == (
        1,
        60,
        600,
    )
    assert (spec.session.active_deadline_seconds, spec.session.ttl_seconds_after_finished) == (0, 300)
    assert spec.update_strategy.type == "OnSessionEnd"
    assert spec.ingress.enabled is False


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("spec", "channels", 2, "to"), "spec.channels[2].to"),
        (("a", 0, 1, "b-c_d"), "a[0][1].b-c_d"),
        ((), ""),
        (("a", "b c"), "a['b c']"),
        (("a", "x\u202e"), "a['x\\u202e']"),
    ],
)
def test_a_place_is_written_like_a_path(path: tuple[str | int, ...], place: str) -> None:
    assert place_of(path) == place
    assert below("", path) in (place, f".{place}")


def test_a_line_is_that_of_the_place_or_of_what_surrounds_it() -> None:
    source = Source("f", None, {(): 1, ("spec",): 4, ("spec", "channels", 2): 9})
    assert [source.line(place) for place in ("spec.channels[2].to", "spec.nodes[1]", "kind", "")] == [9, 4, 1, 1]
    assert Source().line("spec") == 0
    assert path_of("spec.channels[2].to") == ("spec", "channels", 2, "to")
    assert source == Source()
    assert hash(source) == hash(Source())
