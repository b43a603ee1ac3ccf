"""`ringline new node`: what it writes works as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ringline.cli.templates import class_name, render
from tests.helpers.cli import Cli


def test_the_new_node_s_own_test_passes(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("new", "node", "loud_ness", "--directory", "nodes")
    assert outcome.code == 0
    assert f"pytest {Path('nodes/test_loud_ness.py')}" in outcome.out
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "nodes"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout


def test_the_new_node_is_found_and_documented(cli: Cli) -> None:
    cli("new", "node", "new_and_found")
    text = cli("nodes", "new_and_found", "--path", ".").out
    assert "factor" in text
    assert "number ≥ 0" in text


def test_the_new_manifest_is_sound(cli: Cli) -> None:
    cli("new", "node", "loud_ness")
    outcome = cli("validate", "loud_ness.yaml")
    assert (outcome.code, outcome.out) == (0, "loud_ness.yaml: loud-ness: ok (3 nodes, 2 channels)\n")


def test_nothing_is_ever_overwritten(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "test_louder.py").write_text("precious")
    outcome = cli("new", "node", "louder")
    assert outcome.code == 1
    assert "test_louder.py exists already" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["test_louder.py"]
    assert (tmp_path / "test_louder.py").read_text() == "precious"


@pytest.mark.parametrize("name", ["Loud", "1st", "lo-ud", "class", "", "../x", "löud"])
def test_a_name_that_is_no_module_is_refused(cli: Cli, tmp_path: Path, name: str) -> None:
    outcome = cli("new", "node", name)
    assert outcome.code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_class_is_named_after_its_type() -> None:
    assert class_name("loud_ness_2") == "LoudNess2"


def test_no_mark_of_the_template_is_left() -> None:
    assert [file for file, text in render("level_of_noise").items() if "@" in text.replace("@register_node", "")] == []
