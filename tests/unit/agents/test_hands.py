"""Threads that do many agents' steps: each agent's in order, the lowest rank first, and as many at once as get on with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from ringline.agents import concurrency
from ringline.agents.hands import Hands


def until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.002)


def ended(hands: Hands[Any]) -> None:
    hands.close()
    hands.join(60)


def test_an_agents_items_come_one_after_the_other_and_in_order() -> None:
    done: list[tuple[int, int]] = []
    at_work: set[int] = set()

    def work(item: int, number: int, _: int) -> None:
        agent = item % 7
        assert agent not in at_work
        at_work.add(agent)
        if item % 50 == 0:
            time.sleep(0.001)
        done.append((agent, item))
        at_work.remove(agent)
        assert 0 <= number < 4

    hands = Hands(4, work)
    for item in range(700):
        hands.put(item % 7, item, item)
    until(lambda: len(done) == 700)
    for agent in range(7):
        assert [item for each, item in done if each == agent] == list(range(agent, 700, 7))
    assert hands.waiting == 0
    until(lambda: hands.active == 0)
    ended(hands)


def test_a_lower_rank_goes_first_among_what_waits() -> None:
    go, begun, done = threading.Event(), threading.Event(), []

    def work(item: int, *_: int) -> None:
        if item == 0:
            begun.set()
            go.wait()
        done.append(item)

    hands = Hands(1, work)
    hands.put("a", (0, 0), 0)
    begun.wait()
    for item in (3, 1, 2):
        hands.put("a" if item == 3 else item, (0, item), item)
    hands.put("urgent", (-1, 9), 9)
    assert hands.waiting == 4
    assert not hands.alone
    go.set()
    until(lambda: len(done) == 5)
    assert done == [0, 9, 1, 2, 3]
    ended(hands)


def test_those_who_wait_for_each_other_are_all_begun() -> None:
    together = threading.Barrier(6)
    met: list[int] = []

    def work(item: int, *_: int) -> None:
        together.wait(60)
        met.append(item)

    hands = Hands(6, work)
    for item in range(6):
        hands.put(item, item, item)
    until(lambda: len(met) == 6)
    assert sorted(met) == list(range(6))
    ended(hands)


def test_a_single_agent_has_a_single_thread_and_no_one_watches() -> None:
    done: list[str] = []
    hands: Hands[int] = Hands(8, lambda _, number, began: done.append(f"{number} {threading.current_thread().name}"))
    for item in range(20):
        hands.put("a", item, item)
        until(lambda: len(done) == item + 1 and hands.active == 0)  # noqa: B023  (asked at once)
    assert set(done) == {"0 agents-0"}
    assert "agents-watch" not in [thread.name for thread in threading.enumerate()]
    ended(hands)


def test_all_work_at_once_before_anybody_has_looked() -> None:
    go, done = threading.Event(), []

    def work(item: int, *_: int) -> None:
        go.wait()
        done.append(item)

    hands = Hands(5, work)
    for item in range(9):
        hands.put(item, item, item)
    assert hands.active == 5
    until(lambda: hands.waiting == 4)
    go.set()
    until(lambda: len(done) == 9)
    ended(hands)


def test_those_who_compute_are_soon_alone_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "_COMPUTING", 0.0)  # a busy machine leaves them less than they want
    most: list[int] = []

    def work(item: int, *_: int) -> None:
        most.append(hands.active)
        end = time.thread_time() + 0.002
        while time.thread_time() < end:
            pass

    hands = Hands(6, work)
    item = 0
    while not (len(most) > 20 and set(most[-10:]) == {1}):
        for _ in range(20 - hands.waiting):
            hands.put(item, item, item)
            item += 1
        time.sleep(0.0005)
    assert max(most) > 1
    ended(hands)


def test_nobody_looks_any_more_when_there_is_nothing_to_be_seen() -> None:
    hands: Hands[float] = Hands(4, lambda item, *_: time.sleep(item))
    for item in range(8):
        hands.put(item, item, 0.001)
    until(lambda: not hands.active and not hands.watched)
    hands.put("a", 100, 0.0)
    hands.put("b", 101, 0.0)
    until(lambda: not hands.active and not hands.watched)
    ended(hands)


def test_closing_gives_back_what_was_not_begun_and_takes_nothing_more() -> None:
    go, begun, done = threading.Event(), threading.Event(), []

    def work(item: int, *_: int) -> None:
        begun.set()
        go.wait()
        done.append(item)

    hands = Hands(1, work)
    for item in range(5):
        hands.put("a", item, item)
    begun.wait()
    assert sorted(hands.close()) == [1, 2, 3, 4]
    assert hands.close() == []
    hands.put("b", 9, 9)
    go.set()
    hands.join(60)
    assert done == [0]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("agents-")]
