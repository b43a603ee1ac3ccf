"""The size budget: small files and small functions, and about as much test as code."""

from __future__ import annotations

import statistics
from pathlib import Path

from tests.helpers.tree import CODE, TESTS, files, functions, lines, name_of, source_lines, under

PYTHON = files(".py")
CODE_PYTHON = under(PYTHON, CODE)


def percentile(values: list[int], percent: int) -> int:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def biggest(sizes: dict[str, int], limit: int) -> list[str]:
    return [f"{name}: {size}" for name, size in sorted(sizes.items(), key=lambda item: -item[1]) if size > limit]


def file_sizes(paths: tuple[Path, ...]) -> dict[str, int]:
    return {name_of(path): len(lines(path)) for path in paths}


def function_sizes() -> dict[str, int]:
    return {name: size for path in CODE_PYTHON for name, size in functions(path)}


def test_no_python_file_has_more_than_600_lines() -> None:
    assert biggest(file_sizes(PYTHON), 600) == []


def test_python_files_are_short_as_a_rule() -> None:
    sizes = list(file_sizes(CODE_PYTHON).values())
    assert statistics.median(sizes) <= 150
    assert percentile(sizes, 95) <= 450


def test_no_function_has_more_than_80_lines() -> None:
    assert biggest(function_sizes(), 80) == []


def test_functions_are_short_as_a_rule() -> None:
    sizes = list(function_sizes().values())
    assert statistics.median(sizes) <= 9
    assert percentile(sizes, 95) <= 40


def test_no_c_file_has_more_than_600_lines() -> None:
    assert biggest(file_sizes(files(".c", ".h")), 600) == []


def test_there_is_at_least_as_much_test_as_code_and_at_most_twice() -> None:
    code = sum(map(source_lines, under(files(".py", ".c", ".h"), CODE)))
    tests = sum(map(source_lines, under(files(".py", ".c", ".h"), TESTS)))
    assert 1.0 <= tests / code <= 2.0, f"{tests} lines of tests for {code} lines of code"
