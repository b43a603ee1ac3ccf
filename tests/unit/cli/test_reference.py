"""docs/cli.md is what the commands say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import get_args, get_type_hints, is_typeddict

import pytest

from ringline.cli import shapes

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def generated() -> str:
    spec = importlib.util.spec_from_file_location("generate_cli", ROOT / "docs" / "generate_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text: str = module.page()
    return text


def test_the_page_is_up_to_date(generated: str) -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == generated, "run: python3 dev.py generate"


@pytest.mark.parametrize(
    "command", ["run", "validate", "plan", "nodes", "top", "doctor", "bench latency", "bench agents", "new node"]
)
def test_every_command_has_a_chapter_with_an_example(generated: str, command: str) -> None:
    _, _, chapter = generated.partition(f"\n## ringline {command}\n")
    assert "$ ringline" in chapter.partition("\n## ")[0]


def test_every_json_shape_is_described(generated: str) -> None:
    named = [name for name in vars(shapes) if is_typeddict(getattr(shapes, name))]
    assert [name for name in named if f"### {name.removesuffix('Shape')}\n" not in generated] == []


def test_every_field_has_a_meaning() -> None:
    types = [value for value in vars(shapes).values() if is_typeddict(value)]
    hints = [(each, name, hint) for each in types for name, hint in get_type_hints(each, include_extras=True).items()]
    assert [f"{each.__name__}.{name}" for each, name, hint in hints if not get_args(hint)[1:]] == []
    assert len(hints) > 80
