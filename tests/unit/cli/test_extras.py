"""The table of extras agrees with the package's own."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from ringline.cli import extras
from ringline.cli.extras import EXTRAS, how_to_install, missing

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_the_table_holds_what_pyproject_declares() -> None:
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    for extra, packages in EXTRAS.items():
        names = {re.split(r"[<>=\[ ]", requirement)[0] for requirement in declared[extra]}
        assert names - {"ringline"} == set(packages), extra


def test_an_extra_misses_what_it_includes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None if module in ("soxr", "zmq") else module)
    assert missing("voice") == ["pyzmq", "soxr"]
    assert missing("video") == ["pyzmq"]


def test_everything_is_installed_for_the_tests() -> None:
    assert [name for extra in EXTRAS for name in missing(extra)] == []


def test_a_type_that_needs_nothing_misses_nothing() -> None:
    assert missing("") == []


def test_the_command_is_quoted_for_a_shell() -> None:
    assert how_to_install("voice") == "pip install 'ringline[voice]'"
