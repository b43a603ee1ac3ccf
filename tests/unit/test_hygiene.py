"""What no file of this repository may contain, and what each must have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.tree import CODE, files, lines, name_of, nodes, parsed, under

PYTHON = files(".py")
CODE_PYTHON = under(PYTHON, CODE)
TEXT = tuple(path for path in files() if path.suffix not in (".wav", ".png", ".mp4", ".jpg"))
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec", "yaml.load", "yaml.full_load", "yaml.unsafe_load", "os.system", "os.popen"}
# Written in pieces: this file is one of those that must not contain them.
INDEX_HOSTS = ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "crates" + ".io", "repo.maven" + ".apache")
THIS_MACHINE = ("/wo" + "rk/", "/ro" + "ot/", "/opt/" + "wheels", "../" + "shared")
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b|raise Not" + r"ImplementedError")


def imported(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def calls(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Call):
            yield dotted(node.func)


def dotted(node: ast.expr) -> str:
    """Return what was called as it is written; empty if it is more than names with dots."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def found(pattern: str) -> list[str]:
    return [
        f"{name_of(path)}:{number}"
        for path in TEXT
        for number, line in enumerate(lines(path), 1)
        if pattern in line and name_of(path) != "LICENSE"
    ]


def test_nothing_is_ever_unpickled() -> None:
    guilty = [(name_of(path), module) for path in PYTHON for module in imported(path) if module in FORBIDDEN_MODULES]
    assert guilty == []


def test_no_text_is_evaluated_and_no_shell_is_started() -> None:
    guilty = [(name_of(path), call) for path in PYTHON for call in calls(path) if call in FORBIDDEN_CALLS]
    assert guilty == []


@pytest.mark.parametrize("host", INDEX_HOSTS)
def test_no_package_index_is_named(host: str) -> None:
    assert found(host) == []


@pytest.mark.parametrize("path", THIS_MACHINE)
def test_no_path_of_the_machine_it_was_written_on(path: str) -> None:
    # The build machines' script alone looks beside the checkout, and says so when nothing is there.
    assert [place for place in found(path) if not place.startswith(".ci/run:")] == []


def test_nothing_is_left_unfinished() -> None:
    guilty = [
        f"{name_of(path)}:{number}"
        for path in files(".py", ".c", ".h", ".yaml", ".toml")
        for number, line in enumerate(lines(path), 1)
        if UNFINISHED.search(line)
    ]
    assert guilty == []


def test_every_module_says_why_it_exists() -> None:
    silent = [name_of(path) for path in PYTHON if not ast.get_docstring(parsed(path))]
    assert silent == []


def test_every_skipped_test_gives_a_reason() -> None:
    silent = [
        name_of(path)
        for path in under(PYTHON, ("tests/",))
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and dotted(node.func) in ("pytest.mark.skipif", "pytest.mark.skip", "pytest.mark.xfail")
        and not any(keyword.arg == "reason" for keyword in node.keywords)
    ]
    assert silent == []


def test_text_files_end_with_one_newline_and_have_no_tabs_in_python() -> None:
    guilty = [name_of(path) for path in TEXT if path.stat().st_size and not path.read_bytes().endswith(b"\n")]
    guilty += [name_of(path) for path in PYTHON if b"\t" in path.read_bytes()]
    assert guilty == []


def test_no_file_refers_to_a_list_that_a_reader_does_not_have() -> None:
    """Numbers of requirements mean nothing here; the steps of the shared-memory protocol are named alike, in its own folder and tests."""
    code = re.compile(r"\b[RFJNXYZ]\d{1,2}\b")
    named_alike = re.compile(
        r"shm|^docs/shared-memory|^model/|^tests/(faults|conformance|litmus)/|LICENSE|constraints\.txt"
    )
    others = [path for path in TEXT if not named_alike.search(name_of(path))]
    guilty = [
        f"{name_of(path)}:{number}"
        for path in others
        for number, line in enumerate(lines(path), 1)
        if code.search(line)
    ]
    assert guilty == []
