"""Runs command lines in the test's own process."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringline.cli import main
from tests.helpers.cli import Cli, Outcome


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Call with the words of a command line; the working folder is empty."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Outcome(code, *capsys.readouterr())

    return run
