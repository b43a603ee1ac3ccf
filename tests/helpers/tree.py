"""The repository's own files, for the tests that look after its form."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = ("node_runtime/", "operator/", "dev.py", "setup.py")
TESTS = ("tests/",)
LISTED = ("git", "ls-files", "--cached", "--others", "--exclude-standard")


@functools.cache
def files(*suffixes: str) -> tuple[Path, ...]:
    """Return the repository's files with one of these suffixes (all without one), neither ignored nor deleted."""
    done = subprocess.run(LISTED, cwd=ROOT, capture_output=True, text=True, check=False)
    names = done.stdout.splitlines() if done.returncode == 0 else walked()
    paths = (ROOT / name for name in sorted(names))
    return tuple(path for path in paths if path.is_file() and (not suffixes or path.suffix in suffixes))


def walked() -> list[str]:
    """Return all files of an unpacked archive, which has no index to ask."""
    hidden = (".git/", ".venv", ".cache", "build/", "out/")
    names = (str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file())
    return [
        name for name in names if not name.startswith(hidden) and "__pycache__" not in name and "_cache" not in name
    ]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def under(paths: tuple[Path, ...], prefixes: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(path for path in paths if name_of(path).startswith(prefixes))


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return all that a Python file's syntax tree has, from the outside to the inside."""
    return tuple(ast.walk(parsed(path)))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and the length in lines of every function in a Python file, without its decorators."""
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name_of(path)}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


@functools.cache
def lines(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8").splitlines())


def source_lines(path: Path) -> int:
    """Count the lines that a machine reads: no blank lines, comments and docstrings, which code has and tests do without."""
    if path.suffix != ".py":
        bare = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        return sum(1 for line in bare.splitlines() if line.strip())
    prose = {number for node in nodes(path) for number in _docstring(node)}
    code = (line.strip() for number, line in enumerate(lines(path), 1) if number not in prose)
    return sum(1 for line in code if line and not line.startswith("#"))


def _docstring(node: ast.AST) -> range:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return range(0)
