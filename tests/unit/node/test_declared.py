"""Ports of an author's classes, read from their files without importing them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ringline.node.declared import declared_in, declared_types

TEXT = '''
import ringline
from ringline import DataType, MultiprocessNode, SourceNode, register_node
raise SystemExit("imported!")

@register_node("split")
class Split(MultiprocessNode):
    """Doc."""
    inputs = {"audio": DataType.AUDIO}
    outputs: dict = {"speech": "audio", "other": KINDS[3]}
    one_to_one = True
    wait_limit: str = "patience_ms"

@ringline.register_node("count")
@register_node("count_again")
class Count(ringline.SourceNode):
    outputs = {**MORE, "a": "text"}
    one_to_one = is_it()

@register_node(NAME)
class Computed(MultiprocessNode): ...

class Plain(MultiprocessNode): ...
'''


def test_what_is_written_down_is_found(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(TEXT)
    source: dict[str, Any] = {"inputs": {}, "outputs": None, "source": True, "one_to_one": False, "wait_limit": ""}
    assert declared_types([tmp_path]) == {
        "split": {
            "inputs": {"audio": "audio"},
            "outputs": {"speech": "audio", "other": "any"},
            "source": False,
            "one_to_one": True,
            "wait_limit": "patience_ms",
        },
        "count": source,
        "count_again": source,
    }


@pytest.mark.parametrize("text", ["def (", "x = '\0'", "", "(" * 10_000])
def test_a_file_that_is_no_module_declares_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "odd.py"
    file.write_text(text + "\n# register_node\n")
    assert declared_in(file) == {}


def test_folders_and_files_that_are_not_there_declare_nothing(tmp_path: Path) -> None:
    assert declared_types([tmp_path / "none"]) == {}
    assert declared_in(tmp_path / "none.py") == {}
