"""Generated documentation is what the code generates now."""

from __future__ import annotations

import pytest

from docs.generate_reference import DOCS, FILES, pages, prose
from tests.helpers.tree import files, name_of

REFERENCE = [page for page in FILES if page.startswith("reference/")]


@pytest.fixture(scope="module")
def rendered() -> dict[str, str]:
    return pages()


@pytest.mark.parametrize("page", FILES)
def test_a_generated_page_is_up_to_date(page: str, rendered: dict[str, str]) -> None:
    path = DOCS / page
    assert path.exists(), f"run: python3 dev.py generate ({page} is missing)"
    assert path.read_text(encoding="utf-8") == rendered[page], "run: python3 dev.py generate"


def test_no_page_is_left_over(rendered: dict[str, str]) -> None:
    written = {name_of(path).removeprefix("docs/") for path in files(".md") if path.parent.name == "reference"}
    assert written == set(REFERENCE)
    assert set(rendered) == set(FILES)


@pytest.mark.parametrize("page", REFERENCE)
def test_everything_in_the_reference_is_explained(page: str, rendered: dict[str, str]) -> None:
    """A heading that is followed by nothing but a signature means that a docstring is missing."""
    paragraphs = rendered[page].split("\n\n")
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
