"""The lazy table of public names and what type checkers and editors see are the same list."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ringline
from ringline import errors


def names_for_type_checkers() -> set[str]:
    tree = ast.parse(Path(ringline.__file__).read_text(encoding="utf-8"))
    [block] = [part for part in tree.body if isinstance(part, ast.If)]
    imported = {
        alias.asname or alias.name for part in block.body if isinstance(part, ast.ImportFrom) for alias in part.names
    }
    assigned = {
        target.id
        for part in block.body
        if isinstance(part, ast.Assign)
        for target in part.targets
        if isinstance(target, ast.Name)
    }
    return imported | assigned


def test_both_lists_of_public_names_are_equal() -> None:
    assert names_for_type_checkers() | {"__version__"} == set(ringline.__all__)


def test_every_error_of_the_tree_is_public() -> None:
    tree = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.RinglineError)
    }
    assert tree <= set(ringline.__all__)


def test_names_are_listed_and_kept_once_loaded() -> None:
    assert "Pipeline" in dir(ringline)
    assert ringline.Pipeline is ringline.Pipeline
    assert "Pipeline" in vars(ringline)


def test_an_unknown_name_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'ringline' has no attribute 'Pipelines'"):
        ringline.Pipelines  # noqa: B018
