"""What Tab offers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringline.cli.complete import node_types, session_ids


def test_node_types_are_offered_by_all_their_names() -> None:
    assert node_types("energy") == ["energy_vad"]
    assert "asr" in node_types("a")
    assert node_types("no_such") == []


def test_sessions_are_offered_from_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGLINE_SHM_DIR", str(tmp_path))
    folder = tmp_path / f"ringline-{os.getuid()}"
    for name in ("voice-1", "voice-2", "video", ".claim"):
        (folder / name).mkdir(mode=0o700, parents=True)
        (folder / name / "locks").touch()
    (folder / "voice-being-made").mkdir()
    folder.chmod(0o700)
    assert session_ids("voice") == ["voice-1", "voice-2"]


def test_a_folder_that_cannot_be_read_offers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGLINE_SHM_DIR", str(tmp_path / "none"))
    assert session_ids("") == []


def test_the_shell_gets_the_words_it_asks_for() -> None:
    environment = {
        **os.environ,
        "_RINGLINE_COMPLETE": "complete_bash",
        "COMP_WORDS": "ringline nodes energy",
        "COMP_CWORD": "2",
    }
    script = "import sys; from ringline.cli import main; sys.exit(main([]))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert ran.stdout.split() == ["energy_vad"]
