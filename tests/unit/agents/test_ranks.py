"""What waits by rank: in order, whichever way it came."""

from __future__ import annotations

import random

import pytest

from ringline.agents.ranks import Ranked


def test_what_comes_in_order_and_what_does_not_leave_in_order() -> None:
    ranks = random.Random(3).sample(range(1000), 300)
    queue: Ranked[tuple[int, str]] = Ranked()
    for rank in ranks:
        queue.push((rank, str(rank)))
    assert len(queue) == 300
    assert sorted(queue) == [(rank, str(rank)) for rank in sorted(ranks)]
    assert [queue.pop() for _ in ranks] == [(rank, str(rank)) for rank in sorted(ranks)]
    assert not queue


def test_a_late_comer_overtakes_between_two_that_leave() -> None:
    queue: Ranked[tuple[int]] = Ranked()
    for rank in (5, 6, 7):
        queue.push((rank,))
    assert queue.pop() == (5,)
    queue.push((1,))
    queue.push((8,))
    assert [queue.pop() for _ in range(4)] == [(1,), (6,), (7,), (8,)]


def test_there_is_nothing_in_an_empty_one() -> None:
    queue: Ranked[tuple[int]] = Ranked()
    queue.push((2,))
    queue.push((1,))
    queue.clear()
    assert list(queue) == []
    with pytest.raises(IndexError):
        queue.pop()
