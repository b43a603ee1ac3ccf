"""`ringline graph`: both drawings."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.cli import PASS, TONE, VOICE, Cli, write


def test_the_text_drawing_shows_nodes_in_their_order(cli: Cli, tmp_path: Path) -> None:
    text = cli("graph", write(tmp_path, VOICE)).out
    assert [text.index(name) for name in ("vad", "asr", "answer", "tts")] == sorted(
        text.index(name) for name in ("vad", "asr", "answer", "tts")
    )
    assert "microphone" in text
    assert "speaker" in text


def test_the_mermaid_drawing_is_a_flowchart(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("graph", write(tmp_path, TONE), "--format", "mermaid")
    assert outcome.code == 0
    assert outcome.out.startswith("flowchart LR\n")
    assert "gain" in outcome.out


def test_a_document_is_chosen_by_name(cli: Cli, tmp_path: Path) -> None:
    file = write(tmp_path, f"{TONE}---\n{PASS}")
    assert "pass_through" in cli("graph", file, "-p", "pass").out
    outcome = cli("graph", file)
    assert outcome.code == 2
    assert "--pipeline" in outcome.err


def test_a_file_that_is_no_manifest_is_an_error(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("graph", write(tmp_path, "just: text\n"))
    assert outcome.code == 1
    assert outcome.out == ""
    assert "apiVersion" in outcome.err
