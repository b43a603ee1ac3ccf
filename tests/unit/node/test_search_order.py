"""Where a type's name is looked for first: one type, offered in several places at once."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from ringline.errors import NodeLoadError
from ringline.node import discovery, registry
from ringline.node.base import MultiprocessNode
from ringline.node.registry import register_node, resolve

PLACES = ("registered", "script", "first folder", "second folder", "package")
SOURCE = """
from ringline import MultiprocessNode, register_node

{decorator}
class Mine(MultiprocessNode):
    place = "{place}"

if __name__ == "__main__":
    raise SystemExit
"""


@pytest.fixture(autouse=True)
def as_in_a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_TYPES", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith(("ringline.", "numpy")):
            del sys.modules[name]


def offer(place: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer the type `mine` in one place."""
    if place == "registered":
        register_node("mine")(type("Mine", (MultiprocessNode,), {"place": place}))
        return
    folder = home / place.replace(" ", "_")
    folder.mkdir()
    decorator = "" if place == "package" else '@register_node("mine")'
    (folder / f"mine_of_{folder.name}.py").write_text(SOURCE.format(decorator=decorator, place=place))
    if place == "package":
        monkeypatch.syspath_prepend(str(folder))
        point = EntryPoint("mine", f"mine_of_{folder.name}:Mine", discovery.ENTRY_POINTS)
        monkeypatch.setattr(discovery, "entry_points", lambda: {"mine": point})


def where(home: Path) -> dict[str, Any]:
    script = home / "script" / "mine_of_script.py"
    folders = [home / "first_folder", home / "second_folder"]
    return {
        "script": script if script.exists() else None,
        "extra_paths": [folder for folder in folders if folder.exists()],
    }


@pytest.mark.parametrize("places", [*itertools.combinations(PLACES, 2), PLACES], ids=" and ".join)
def test_the_nearer_place_wins(places: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in places:
        offer(place, tmp_path, monkeypatch)
    found: Any = resolve("mine", **where(tmp_path))
    assert found.place == places[0]


@pytest.mark.parametrize("place", PLACES)
def test_a_type_of_the_box_is_not_looked_for_elsewhere(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(place, tmp_path, monkeypatch)
    assert resolve("gain", **where(tmp_path)).__module__.startswith("ringline.nodes.")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no_such_module_at_all:Node", "module 'no_such_module_at_all' can't be imported: ModuleNotFoundError"),
        ("json:Nothing", "'Nothing' in module 'json'"),
        ("json:loads", "'loads' in module 'json'"),
        ("json:JSONDecoder", "'JSONDecoder' in module 'json'"),
    ],
)
def test_a_name_with_a_module_is_looked_for_there_only(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer("script", tmp_path, monkeypatch)
    with pytest.raises(NodeLoadError, match=f"node type '{name}': {text}"):
        resolve(name, **where(tmp_path))
    assert discovery.SCRIPT_MODULE not in sys.modules
