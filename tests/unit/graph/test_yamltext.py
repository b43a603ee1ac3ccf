"""YAML becomes plain values with lines, and nothing else, whatever the text."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ringline.errors import ManifestError
from ringline.graph.yamltext import MAX_DEPTH, read_documents


def value_of(text: str) -> Any:
    [document], problems = read_documents(text)
    assert problems == []
    return document.value


def findings(text: str) -> list[tuple[int, str, str]]:
    try:
        _, problems = read_documents(text)
    except ManifestError as error:
        problems = list(error.problems)
    return [(problem.line, problem.place, problem.message) for problem in problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("a: 1.5e+3", {"a": 1500.0}),
        ("a: true", {"a": True}),
        ("a: off", {"a": False}),
        ("a: ~", {"a": None}),
        ("a: ''", {"a": ""}),
        ("a: '1'", {"a": "1"}),
        ("a: !!str 1", {"a": "1"}),
        ("a: ! 1", {"a": "1"}),
        ("a: 12:30:45", {"a": "12:30:45"}),
        ("a: 2026-11-21", {"a": "2026-11-21"}),
        ("a: 0x10", {"a": 16}),
        ("a: =", {"a": "="}),
        ("- [x, {y: z}]", [["x", {"y": "z"}]]),
        ("2026-11-21: x", {"2026-11-21": "x"}),
    ],
)
def test_values_are_plain(text: str, value: Any) -> None:
    assert value_of(text) == value


def test_every_value_knows_its_line() -> None:
    text = "a: 1\nb:\n- x\n- y: 2\n  z:\n    q: 3\n"
    [document], _ = read_documents(text)
    assert document.line == 1
    assert document.lines[("a",)] == 1
    assert document.lines[("b", 1, "y")] == 4
    assert document.lines[("b", 1, "z", "q")] == 6


def test_aliases_share_values_and_stay_within_bounds() -> None:
    assert value_of("a: &x {k: [1, 2]}\nb: *x\nc: [*x, *x]") == {
        "a": {"k": [1, 2]},
        "b": {"k": [1, 2]},
        "c": [{"k": [1, 2]}, {"k": [1, 2]}],
    }


def test_an_alias_bomb_is_refused_where_it_grows_too_large() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    [(line, place, message)] = findings("\n".join(lines))
    assert message == "aliases add more than 10000 values; write the values out"
    assert line == 5
    assert place.startswith("a4[")


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("a: *x", (1, "a", "alias *x has no anchor; write &x before it")),
        ("a: &x [*x]", (1, "a[0]", "alias *x lies inside its own anchor; write the value out")),
        ("a: 1\nb: 2\na: 3", (3, "a", "is written twice (first in line 1); keep one of them")),
        ("x:\n- k: 1\n  k: 1", (3, "x[0].k", "is written twice (first in line 2); keep one of them")),
        (
            "a: !!python/object/apply:os.system ['x']",
            (
                1,
                "a",
                (
                    "tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed; "
                    "a manifest holds plain values, remove it"
                ),
            ),
        ),
        (
            "a: !!binary aGk=",
            (1, "a", "tag 'tag:yaml.org,2002:binary' is not allowed; a manifest holds plain values, remove it"),
        ),
        ("a: !mine {}", (1, "a", "tag '!mine' is not allowed; a manifest holds plain values, remove it")),
        ("1: x", (1, "1", "this key is read as a int, not as a text; quote it")),
        ("on: x", (1, "on", "this key is read as a bool, not as a text; quote it")),
        ("? [a]\n: x", (1, "", "has a key that is no text; keys are plain words")),
        ("b: {<<: {a: 1}}", (1, "b['<<']", "merge keys (<<) are not supported; write the fields out")),
        ("a: !!int many", (1, "a", "'many' can't be read as int; quote it if it is a text")),
        ("a: 1\n\tb: 2", (2, "", "is not YAML: found a tab character that violates indentation")),
        ("a: [1", (2, "", "is not YAML: did not find expected ',' or ']'")),
    ],
)
def test_what_is_no_plain_value_is_refused_with_line_and_place(text: str, finding: tuple[int, str, str]) -> None:
    assert finding in findings(text)


def test_deep_nesting_is_refused_before_it_hurts() -> None:
    assert findings("[" * 200_000)[0][2] == f"is nested deeper than {MAX_DEPTH} levels; flatten it"
    assert findings("a: " + "[" * 65 + "]" * 65)[0][2].startswith("is nested deeper")


def test_all_slips_of_a_text_are_reported_not_only_the_first() -> None:
    assert [line for line, _, _ in findings("a: 1\na: 2\nb: !x 3\n1: c\n")] == [2, 3, 4]


def test_several_documents_count_their_lines_through() -> None:
    documents, _ = read_documents("a: 1\n---\nb: 2\n---\n- c\n")
    assert [document.value for document in documents] == [{"a": 1}, {"b": 2}, ["c"]]
    assert [document.line for document in documents] == [1, 3, 5]


def test_the_python_parser_reads_alike_where_there_is_no_fast_one(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: &x [1, 'two', 3.0]\nb: *x\nc: {d: null}\n"
    fast = value_of(text)
    monkeypatch.setattr("ringline.graph.yamltext._LOADER", yaml.SafeLoader)
    assert value_of(text) == fast


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)


@given(_PLAIN)
def test_what_yaml_writes_is_read_back(value: Any) -> None:
    assert value_of(yaml.safe_dump(value)) == value


@given(st.text(alphabet="ab:-[]{}&*!'\"\n #|>?,%0.~", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        documents, problems = read_documents(text)
    except ManifestError as error:
        documents, problems = [], list(error.problems)
        assert problems
    assert all(line > 0 for line in [*(d.line for d in documents), *(p.line for p in problems)])
