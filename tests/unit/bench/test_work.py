"""The benchmark's agents compute something, keep a belief, and really use a database and a WebSocket."""

from __future__ import annotations

import importlib
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringline.bench import work
from ringline.bench.crowds import Bare, outcome
from ringline.bench.hosts import service
from ringline.bench.load import steps_of
from ringline.bench.work import TARGETS, Mixed, Numeric, Pure, Silent, hang_up, make


@pytest.mark.parametrize("kernel", [name for name in TARGETS if name != "mixed"])
def test_every_kernel_names_the_class_that_is_made(kernel: str) -> None:
    module, _, name = TARGETS[kernel].partition(":")
    assert type(make(kernel, "agent0", {})) is getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("kind", [Pure, Numeric])
def test_a_step_chooses_an_action_and_keeps_a_probability_for_each_state(kind: type[Any]) -> None:
    agent = kind()
    actions = [agent.step(observation) for observation in range(8)]
    assert set(actions) <= set(range(4))
    assert sum(agent.belief) == pytest.approx(1.0)
    assert min(agent.belief) >= 0


@pytest.mark.parametrize("kind", [Pure, Numeric])
def test_the_belief_follows_what_is_observed(kind: type[Any]) -> None:
    one, other = kind(), kind()
    one.step(3)
    other.step(4)
    assert not np.allclose(one.belief, other.belief)


@pytest.mark.parametrize("kind", [Pure, Numeric])
def test_the_same_observations_give_the_same_steps(kind: type[Any]) -> None:
    one, other = kind(), kind()
    assert [one.step(seen) for seen in range(5)] == [other.step(seen) for seen in range(5)]


def test_the_belief_is_more_certain_than_before() -> None:
    agent = Numeric()
    before = float(agent.belief.max())
    agent.step(7)
    assert float(agent.belief.max()) > before


def test_the_silent_agent_returns_what_it_sees() -> None:
    assert Silent().step(42) == 42


@pytest.fixture
def url() -> Iterator[str]:
    with service() as found:
        yield found.url
        hang_up()


def test_a_mixed_step_is_stored_and_answered_by_the_peer(tmp_path: Path, url: str) -> None:
    agent, plain = Mixed("agent7", str(tmp_path), url), Numeric()
    actions = [agent.step(moment) for moment in range(3)]
    assert actions == [plain.step(moment) for moment in range(3)], "the peer sends back what it was told"
    with sqlite3.connect(tmp_path / "agent7.db") as history:
        rows = history.execute("SELECT moment, action FROM history").fetchall()
    history.close()
    assert rows == list(enumerate(actions))
    lines = (tmp_path / "agent7.log").read_text(encoding="ascii").splitlines()
    assert lines == [f"{moment} {action}" for moment, action in enumerate(actions)]


def test_agents_of_one_thread_share_a_connection_and_have_histories_of_their_own(tmp_path: Path, url: str) -> None:
    agents = [Mixed(name, str(tmp_path), url) for name in ("a", "b")]
    for agent in agents:
        agent.step(0)
    assert {path.name for path in tmp_path.glob("*.db")} == {"a.db", "b.db"}
    assert work._mine.peer is work._peer(url)


def test_after_hanging_up_others_may_call_again(tmp_path: Path, url: str) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        crowd = Bare()
        crowd.settle(1, "mixed", {"folder": str(tmp_path / name), "url": url})
        answered = steps_of(crowd, {0: 1})
        crowd.close()
        assert answered[0] in range(4)


def test_a_future_s_outcome_is_its_result_or_its_exception() -> None:
    good, bad = Future[int](), Future[int]()
    good.set_result(0)
    bad.set_exception(KeyError("gone"))
    assert outcome(good) == 0
    assert isinstance(outcome(bad), KeyError)
