"""Where a node type's class is searched, in which order, and what is said when it can't be had."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ringline.errors import NodeError, NodeLoadError, UnknownNodeTypeError
from ringline.graph.catalog import load_catalog
from ringline.node import discovery, registry
from ringline.node.base import MultiprocessNode
from ringline.node.registry import known_types, register_node, resolve

NODE = """
from ringline import MultiprocessNode, register_node

@register_node("{name}")
class Mine(MultiprocessNode):
    where = __name__
"""
GUARD = '\nif __name__ == "__main__":\n    raise SystemExit("the script ran")\n'


@pytest.fixture(autouse=True)
def as_in_a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_TYPES", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith(("ringline.", "numpy")):
            del sys.modules[name]


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_a_class_is_found_by_the_name_and_the_aliases_that_it_is_registered_under() -> None:
    @register_node("first_name")
    class Node(MultiprocessNode):
        aliases = ("second_name",)

    assert resolve("first_name") is resolve("second_name") is Node
    assert Node.node_type == "first_name"
    assert registry.registered() == {"first_name": Node, "second_name": Node}


def test_one_name_for_two_classes_is_refused_and_both_are_named() -> None:
    @register_node("taken")
    class First(MultiprocessNode):
        pass

    with pytest.raises(NodeError, match=r"'taken' is defined twice: by .*First in .* and by .*Second in"):

        @register_node("taken")
        class Second(MultiprocessNode):
            pass


def test_a_name_of_the_box_is_refused_and_a_class_that_is_no_node() -> None:
    with pytest.raises(NodeError, match="has the name of a type in the box"):
        register_node("gain")(type("Gain", (MultiprocessNode,), {}))
    with pytest.raises(NodeError, match="needs a class that inherits from MultiprocessNode"):
        register_node("odd")(dict)  # type: ignore[type-var]


def test_a_type_of_the_box_is_found_by_its_name_and_its_alias() -> None:
    assert resolve("pass_through").node_type == "pass_through"
    alias = next(alias for entry in load_catalog().values() for alias in entry["aliases"])
    assert discovery.box_entry(alias) is not None


def test_a_missing_library_of_the_box_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"module": "no_such_module_at_all:Gain", "extra": "voice"}
    monkeypatch.setattr(discovery, "_box", lambda: {"heavy": entry})
    with pytest.raises(
        NodeLoadError, match=r"No module named 'no_such_module_at_all' .*pip install 'ringline\[voice\]'"
    ):
        resolve("heavy")


def test_the_script_is_imported_without_its_guarded_part(tmp_path: Path) -> None:
    script = write(tmp_path, "app.py", NODE.format(name="scripted") + GUARD)
    write(tmp_path, "beside.py", "value = 1\n")
    found = resolve("scripted", script=script)
    assert found.where == discovery.SCRIPT_MODULE  # type: ignore[attr-defined]
    assert str(tmp_path) in sys.path
    assert resolve("scripted", script=script) is found


def test_a_script_without_a_guard_is_not_imported_and_the_error_says_what_to_add(tmp_path: Path) -> None:
    script = write(tmp_path, "app.py", NODE.format(name="scripted") + "\nraise SystemExit('it ran')\n")
    with pytest.raises(NodeLoadError, match=r'app.py was not imported .*if __name__ == "__main__":'):
        resolve("scripted", script=script)


@pytest.mark.parametrize("guard", ["if __name__ == '__main__':", "if '__main__' == __name__:"])
def test_both_ways_of_writing_a_guard_are_seen(tmp_path: Path, guard: str) -> None:
    assert discovery.has_guard(write(tmp_path, "app.py", f"{guard}\n    pass\n"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "if True:\n    pass\n",
        "def f():\n    if __name__ == '__main__':\n        pass\n",
        "if __name__ != 'x': pass",
        "((",
    ],
)
def test_what_is_no_guard_is_not_taken_for_one(tmp_path: Path, text: str) -> None:
    assert not discovery.has_guard(write(tmp_path, "app.py", text))


def test_a_class_is_found_by_module_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "my_module_of_nodes.py", NODE.format(name="x1"))
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve("my_module_of_nodes:Mine").__name__ == "Mine"
    with pytest.raises(NodeLoadError, match="'Yours' in module 'my_module_of_nodes' does not exist"):
        resolve("my_module_of_nodes:Yours")
    with pytest.raises(NodeLoadError, match="is not a node class"):
        resolve("json:dumps")
    with pytest.raises(NodeLoadError, match="module 'nowhere' can't be imported: ModuleNotFoundError"):
        resolve("nowhere:Mine")


def test_only_the_file_that_names_the_type_is_imported(tmp_path: Path) -> None:
    write(tmp_path, "aa.py", NODE.format(name="other") + "\nraise RuntimeError('imported in vain')\n")
    write(tmp_path, "mine.py", NODE.format(name="wanted"))
    write(tmp_path, "zz.py", "raise RuntimeError('it registers nothing')\n")
    assert resolve("wanted", extra_paths=[tmp_path]).where == "mine"  # type: ignore[attr-defined]


def test_a_computed_name_is_found_by_importing_what_registers_something(tmp_path: Path) -> None:
    write(tmp_path, "computed.py", NODE.format(name="x").replace('"x"', '"com" + "puted"'))
    assert resolve("computed", extra_paths=[str(tmp_path)]).__name__ == "Mine"


def test_a_package_in_extra_paths_is_found_and_its_modules_import_each_other(tmp_path: Path) -> None:
    write(tmp_path / "speech", "__init__.py", "from speech.parts import VALUE\n" + NODE.format(name="packed"))
    write(tmp_path / "speech", "parts.py", "VALUE = 1\n")
    assert resolve("packed", extra_paths=[tmp_path]).where == "speech"  # type: ignore[attr-defined]


def test_a_file_named_like_a_library_does_not_replace_it(tmp_path: Path) -> None:
    import json

    write(tmp_path, "json.py", NODE.format(name="shadow"))
    assert resolve("shadow", extra_paths=[tmp_path]).where == "ringline_extra_json"  # type: ignore[attr-defined]
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ("import torch_that_nobody_has\n", "ModuleNotFoundError: No module named 'torch_that_nobody_has'"),
        ("def f(:\n", "SyntaxError: "),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
        ("raise ValueError('no licence')\n", "ValueError: no licence"),
    ],
)
def test_a_module_that_fails_is_reported_with_its_last_line_and_its_place(
    tmp_path: Path, broken: str, error: str
) -> None:
    file = write(tmp_path, "broken.py", f"from ringline import register_node\n{broken}# register_node('bad')\n")
    with pytest.raises(NodeLoadError) as refused:
        resolve("bad", extra_paths=[tmp_path])
    assert error in str(refused.value)
    assert f"{file}, line " in str(refused.value)


def test_an_installed_package_offers_types_by_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "installed_nodes.py", NODE.format(name="elsewhere"))
    monkeypatch.syspath_prepend(tmp_path)
    points = {
        name: EntryPoint(name, value, discovery.ENTRY_POINTS)
        for name, value in (
            ("by_class", "installed_nodes:Mine"),
            ("elsewhere", "installed_nodes"),
            ("empty", "json"),
            ("gone", "no_such_package:Mine"),
        )
    }
    monkeypatch.setattr(discovery, "entry_points", lambda: points)
    assert resolve("by_class").__name__ == "Mine"
    assert resolve("elsewhere").__name__ == "Mine"
    with pytest.raises(NodeLoadError, match="'json' of node type 'empty' is not a node class"):
        resolve("empty")
    with pytest.raises(NodeLoadError, match="entry point 'no_such_package:Mine' can't be imported"):
        resolve("gone")


def test_entry_points_of_this_environment_can_be_read() -> None:
    assert isinstance(discovery.entry_points(), dict)


def test_an_unknown_type_names_the_nearest_one_of_any_place(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", NODE.format(name="whisper_large"))
    with pytest.raises(UnknownNodeTypeError, match="no node type 'pas_through'; did you mean 'pass_through'"):
        resolve("pas_through")
    with pytest.raises(UnknownNodeTypeError, match="did you mean 'whisper_large'"):
        resolve("whisper_larg", extra_paths=[tmp_path])
    with pytest.raises(UnknownNodeTypeError, match=r"known: .*gain"):
        resolve("qqqqqqqqqqq")


def test_all_that_could_be_found_is_listed_without_importing_it(tmp_path: Path) -> None:
    script = write(tmp_path, "app.py", NODE.format(name="in_script"))
    write(tmp_path / "more", "broken.py", NODE.format(name="in_folder") + "\nraise RuntimeError\n")
    assert {"in_script", "in_folder", "gain"} <= set(known_types(script, [tmp_path / "more"]))


def test_files_that_are_no_text_or_are_gone_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "noise.py").write_bytes(b"\xff\x00register_node" * 10)
    (tmp_path / "huge.py").write_bytes(b"# register_node\n" * 300_000)
    assert [file.name for file in discovery.candidates([tmp_path, tmp_path / "gone"])] == ["noise.py"]
    assert discovery.registered_names(tmp_path / "noise.py") == set()
