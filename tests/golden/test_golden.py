"""Plans, documents, drawings and refusals of whole manifests, compared with files that people have read.

``UPDATE_GOLDEN=1 python -m pytest tests/golden`` writes the files anew; look at the difference before committing it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from ringline.errors import ManifestError
from ringline.graph.manifest import parse_manifest, read_manifest
from ringline.graph.model import MediaPipeline
from ringline.graph.nodeconfig import NodeConfig
from ringline.graph.pipeline import Pipeline
from ringline.graph.plan import SessionPlan, plan
from ringline.graph.render import render_mermaid, render_text
from ringline.graph.validate import runtime_section, validate
from ringline.settings import resolve_settings
from tests.unit.graph.graphs import CATALOG

HERE = Path(__file__).parent
BOX = CATALOG | {
    "energy_vad": CATALOG["vad"],
    "pocketsphinx_asr": CATALOG["asr"],
    "text_template": {"inputs": {"text": "any"}, "outputs": {"text": "text"}},
    "espeak_tts": CATALOG["tts"],
}
"""Ports as in the box, kept here so that a golden file changes only when the plan does."""
NAMES = sorted(path.stem for path in (HERE / "manifests").glob("*.yaml"))
REFUSED = sorted(path.stem for path in (HERE / "refused").glob("*.yaml"))


def compare(name: str, text: str) -> None:
    path = HERE / "expected" / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path} is missing; run with UPDATE_GOLDEN=1"
    assert text == path.read_text(encoding="utf-8"), f"{name} differs; if that is meant, run with UPDATE_GOLDEN=1"


def manifest(name: str) -> MediaPipeline:
    [pipeline] = read_manifest(HERE / "manifests" / f"{name}.yaml")
    return pipeline


def planned(name: str) -> SessionPlan:
    pipeline = manifest(name)
    return plan(pipeline, resolve_settings(manifest=runtime_section(pipeline)), BOX)


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_of_a_manifest_is_the_one_that_was_read(name: str) -> None:
    session = planned(name)
    tree = {field: getattr(session, field) for field in ("pipeline", "inputs", "outputs")}
    tree |= {"session": asdict(session.session), "document": json.loads(session.node_config())}
    compare(f"{name}.plan.json", json.dumps(tree, indent=1, sort_keys=True) + "\n")


@pytest.mark.parametrize("name", NAMES)
def test_the_drawings_of_a_manifest_are_the_ones_that_were_read(name: str) -> None:
    pipeline = manifest(name)
    compare(f"{name}.txt", render_text(pipeline, BOX))
    compare(f"{name}.mmd", render_mermaid(pipeline, BOX))


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_survives_every_round_trip(name: str) -> None:
    pipeline = manifest(name)
    assert validate(pipeline, BOX) == []
    again = Pipeline.from_manifest(pipeline.to_manifest())
    assert again.resource == pipeline
    assert read_manifest(yaml.safe_dump(pipeline.to_manifest()) + "\n") == [pipeline]
    document = planned(name).node_config()
    assert NodeConfig.from_bytes(document).to_bytes() == document


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_manifest_is_refused_with_all_its_problems(name: str) -> None:
    text = (HERE / "refused" / f"{name}.yaml").read_text(encoding="utf-8")
    try:
        [pipeline] = parse_manifest(text, f"{name}.yaml").pipelines
        found = str(ManifestError(validate(pipeline, BOX), f"{name}.yaml"))
    except ManifestError as error:
        found = str(error)
    compare(f"{name}.problems.txt", found + "\n")


def test_every_expected_file_belongs_to_a_manifest() -> None:
    wanted = {f"{name}.{kind}" for name in NAMES for kind in ("plan.json", "txt", "mmd")}
    wanted |= {f"{name}.problems.txt" for name in REFUSED}
    assert {path.name for path in (HERE / "expected").iterdir()} == wanted
