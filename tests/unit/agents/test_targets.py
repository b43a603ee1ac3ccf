"""From ``module:Class`` to an agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringline.agents import targets
from ringline.errors import NodeLoadError


class Walker:
    def __init__(self, speed: int, context: str = "") -> None:
        self.speed, self.context = speed, context

    def step(self, far: int) -> int:
        return self.speed * far


def test_a_class_is_made_with_its_arguments_and_what_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "load", lambda _: Walker)
    agent = targets.make("world:Walker", {"speed": 2}, context="here", other=5)
    assert (agent.context, targets.work_of(agent, "world:Walker")(3)) == ("here", 6)


def test_functions_and_nested_names_are_found() -> None:
    assert targets.make("os.path:join", {})("a", "b") == "a/b"
    assert targets.load("pathlib:Path.cwd")() == Path.cwd()
    assert targets.work_of(len, "builtins:len")([1]) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [("Walker", "write module:Class"), ("os:Nothing", "has no 'Nothing'"), ("no.such:Thing", "can't be imported")],
)
def test_a_bad_name_says_what_to_write(name: str, said: str) -> None:
    with pytest.raises(NodeLoadError, match=said):
        targets.load(name)


def test_an_agent_without_a_method_is_refused() -> None:
    with pytest.raises(NodeLoadError, match="no method step, run, invoke"):
        targets.work_of(5, "world:five")
    with pytest.raises(NodeLoadError, match="no method jump"):
        targets.work_of(Walker(1), "world:Walker", "jump")


def test_a_script_without_a_guard_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "run.py"
    script.write_text("raise SystemExit\n")
    monkeypatch.setenv("RINGLINE_SCRIPT", str(script))
    with pytest.raises(NodeLoadError, match="put its start under"):
        targets.load("__main__:Walker")
