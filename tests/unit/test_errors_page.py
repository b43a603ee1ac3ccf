"""docs/errors.md explains every error that a user can meet, with the words that the code uses."""

from __future__ import annotations

import re

import pytest

from ringline import errors
from ringline.host import exits
from tests.helpers.tree import CODE, ROOT, files, under

PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in under(files(".py", ".c"), CODE))
PLAIN_BASES = {"RinglineError", "NodeError", "ShmError"}
"""Never raised themselves."""
CLASSES = sorted(name for name in vars(errors) if isinstance(getattr(errors, name), type) and name != "Problem")
HEADINGS = re.findall(r"^### (\w+): (.*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(set(CLASSES) - PLAIN_BASES - {"Sequence"}))
def test_every_error_is_explained(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGE)


@pytest.mark.parametrize("reason", re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE))
def test_every_documented_reason_of_a_crash_exists(reason: str) -> None:
    assert f'"{reason}"' in SOURCES


@pytest.mark.parametrize("reason", ["OOMKilled", "MemoryLimit", "Stalled", "Unhealthy", "ExitedEarly"])
def test_a_reason_that_calls_for_action_is_documented(reason: str) -> None:
    assert reason in vars(exits)["_EXPLAIN"]
    assert f"`{reason}`" in PAGE


@pytest.mark.parametrize(("name", "text"), HEADINGS)
def test_the_common_issues_have_the_texts_of_the_code(name: str, text: str) -> None:
    assert name in CLASSES
    fixed = re.split(r"'\w+'|\d+s?", text)
    assert [part for part in fixed if part.strip() and part.strip() not in SOURCES] == []
