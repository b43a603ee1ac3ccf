"""The documentation's code is run as it stands: a snippet that fails here would fail for its reader too.

The words after a fence's language say what happens: ``file=NAME`` saves it, ``run`` and ``pytest`` run it, ``notest`` leaves it
alone (Python and bash need one of them, or only commands that are checked elsewhere). A page's snippets share a folder.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

import dev
from ringline.graph.manifest import read_manifest
from ringline.graph.model import PipelineSpec
from ringline.graph.validate import validate
from ringline.settings import resolve_settings
from tests.helpers.tree import ROOT, files, name_of

FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = tuple(page for page in files(".md") if FENCE.search(page.read_text(encoding="utf-8")))
PARTS = {field.alias or name for name, field in PipelineSpec.model_fields.items()}
RINGLINE = [sys.executable, "-c", "from ringline.cli import main; main()"]


@dataclass(frozen=True)
class Snippet:
    """One fenced block of a page."""

    language: str
    words: tuple[str, ...]
    code: str

    @property
    def file(self) -> str:
        return next((word.removeprefix("file=") for word in self.words if word.startswith("file=")), "")


def snippets(page: Path) -> Iterator[Snippet]:
    for language, words, code in FENCE.findall(page.read_text(encoding="utf-8")):
        yield Snippet(language, tuple(words.split()), code)


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, env=dict(os.environ), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"


def check_python(snippet: Snippet, folder: Path) -> None:
    if "notest" in snippet.words:
        return
    compile(snippet.code, snippet.file or "snippet", "exec")
    if "run" in snippet.words:
        run([sys.executable, snippet.file or "snippet.py"], folder)
    elif "pytest" in snippet.words:
        run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-o", "asyncio_mode=auto", snippet.file], folder
        )
    else:
        assert snippet.file, "say what shall happen with this snippet"


def check_bash(snippet: Snippet, folder: Path) -> None:
    for line in snippet.code.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["ringline"] and "run" in snippet.words:
            run([*RINGLINE, *words[1:]], folder)
        elif words[:2] == ["python3", "dev.py"]:
            assert words[2] in dev.COMMANDS
        elif words and "notest" not in snippet.words:
            named = re.findall(r"(?:examples|docs|tests)/[\w./-]+", line)
            assert all((ROOT / word).exists() for word in named), line


def check_yaml(snippet: Snippet, folder: Path) -> None:
    """Check a pipeline as `ringline validate` does, a part of one by its model; of other YAML only that it can be read."""
    if "notest" in snippet.words:
        return
    for content in yaml.safe_load_all(snippet.code):
        if isinstance(content, dict) and content.get("kind") == "MediaPipeline":
            path = folder / (snippet.file or "manifest.yaml")
            path.write_text(yaml.safe_dump(content), encoding="utf-8")
            assert [problem for document in read_manifest(path) for problem in validate(document)] == []
        elif isinstance(content, dict) and "kind" not in content:
            part = content.get("spec", content)
            if part.keys() <= PARTS:
                PipelineSpec.model_validate(part)


def check_toml(snippet: Snippet, folder: Path) -> None:
    if "multiprocess" in tomllib.loads(snippet.code):
        path = folder / (snippet.file or "runtime.toml")
        path.write_text(snippet.code, encoding="utf-8")
        resolve_settings(file=path)


CHECKS = {"python": check_python, "bash": check_bash, "yaml": check_yaml, "toml": check_toml}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_snippets_of_a_page_work(page: Path, tmp_path: Path) -> None:
    for snippet in snippets(page):
        if snippet.language == "python":
            path = tmp_path / (snippet.file or "snippet.py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(snippet.code, encoding="utf-8")
        if snippet.language in CHECKS:
            CHECKS[snippet.language](snippet, tmp_path)


def test_a_broken_snippet_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "snippet.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(AssertionError, match="snippet"):
        check_python(Snippet("python", ("run",), "raise SystemExit(3)\n"), tmp_path)
