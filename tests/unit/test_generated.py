"""Generated documentation is what the code generates now."""

from __future__ import annotations

import pytest

from docs.generate_reference import DOCS, pages, prose
from tests.helpers.tree import files, name_of

PAGES = pages()


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_generated_page_is_up_to_date(page: str) -> None:
    path = DOCS / page
    assert path.exists(), f"run: python3 dev.py generate ({page} is missing)"
    assert path.read_text(encoding="utf-8") == PAGES[page], "run: python3 dev.py generate"


def test_no_page_of_the_reference_is_left_over() -> None:
    written = {name_of(path).removeprefix("docs/") for path in files(".md") if path.parent.name == "reference"}
    assert written == {page for page in PAGES if page.startswith("reference/")}


@pytest.mark.parametrize("page", [page for page in sorted(PAGES) if page.startswith("reference/")])
def test_everything_in_the_reference_is_explained(page: str) -> None:
    """A heading that is followed by nothing but a signature means that a docstring is missing."""
    paragraphs = PAGES[page].split("\n\n")
    silent = [
        heading
        for heading, after in zip(paragraphs, [*paragraphs[1:], ""], strict=True)
        if heading.startswith("##") and after.startswith("##")
    ]
    assert silent == []


def test_an_example_in_a_docstring_becomes_a_code_block() -> None:
    text = prose("Does it.\n\nExample::\n\n    - {name: a, type: b}\n\nAfterwards.")
    assert "Example:\n\n```yaml notest\n- {name: a, type: b}\n```" in text
    assert text.endswith("Afterwards.")
