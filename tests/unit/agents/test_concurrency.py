"""How many work at once: all who wait, one who computes, a few who do both, and all again when one holds the others up."""

from __future__ import annotations

import itertools

import pytest

from ringline.agents.concurrency import Limit, Seen

STEP_S = 0.005


def looked(limit: Limit, share: float, *, processors: float = 1.0, looks: int = 1, oldest_s: float = 0.0) -> list[int]:
    """Look at a crowd that computes for this share of a step; `processors` is what it gets in all. Gives what was allowed."""
    found = []
    for _ in range(looks):
        wall, active = limit.pause_s, limit.allowed
        run = min(processors, active * share) * wall
        limit.look(
            Seen(
                wall_s=wall,
                busy_s=active * wall,
                run_s=run,
                oldest_s=oldest_s,
                ended=max(1, int(run / STEP_S)),
                active=active,
            )
        )
        found.append(limit.allowed)
    return found


def phases(allowed: list[int]) -> list[int]:
    """Leave out repetitions."""
    return [count for count, _ in itertools.groupby(allowed)]


def test_at_first_all_may_and_who_waits_always_may() -> None:
    limit = Limit(20)
    assert limit.allowed == 20
    assert phases(looked(limit, 0.01, looks=50)) == [20]
    assert limit.pause_s == 4.0  # it is looked at ever less


def test_who_computes_works_alone_and_two_are_tried_ever_less() -> None:
    limit = Limit(20)
    allowed = looked(limit, 1.0, looks=400)
    assert phases(allowed)[:6] == [20, 1, 2, 1, 2, 1]
    assert set(allowed[100:]) <= {1, 2}
    trials = [place for place, count in enumerate(allowed) if count == 2]
    assert trials[-1] - trials[-3] > trials[3] - trials[0]


@pytest.mark.parametrize(("share", "count"), [(0.84, 3), (0.71, 4), (0.5, 5), (0.2, 13), (0.1, 20), (0.0, 20)])
def test_who_waits_for_a_part_of_the_time_has_company(share: float, count: int) -> None:
    limit = Limit(20)
    limit.look(Seen(0.2, 4.0, 0.2))  # together they take a whole processor
    assert limit.allowed == 1
    allowed = looked(limit, share, looks=8)
    assert count in allowed
    assert set(allowed) == {1, count}
    assert phases(looked(limit, 1.0, looks=200))[-1] in (1, 2)  # and another crowd has another limit


def test_who_computes_without_the_lock_gets_all_processors() -> None:
    limit = Limit(20)
    allowed = looked(limit, 1.0, processors=2.0, looks=60)
    assert phases(allowed)[:4] == [20, 1, 2, 20]
    assert allowed.count(20) > 3 * allowed.count(1)


def test_short_work_is_done_by_one_even_if_it_waits_for_the_lock() -> None:
    limit = Limit(20)
    limit.look(Seen(0.2, 1.0, 0.1))
    for _ in range(50):
        limit.look(Seen(limit.pause_s, limit.pause_s, 0.4 * limit.pause_s, ended=1000))
    assert limit.allowed == 1


def test_one_that_never_ends_does_not_keep_the_others_waiting() -> None:
    limit = Limit(8)
    looked(limit, 1.0, looks=6)
    assert limit.allowed == 1
    looked(limit, 1.0, oldest_s=0.2)
    assert limit.allowed == 8
    limit = Limit(8)
    limit.look(Seen(0.2, 1.6, 0.2, active=8))
    looked(limit, 0.7, looks=3)
    assert limit.allowed == 4
    looked(limit, 0.7, oldest_s=0.2)
    assert limit.allowed == 4
    looked(limit, 0.7, oldest_s=0.5)
    assert limit.allowed == 8


def test_those_who_do_not_end_are_not_waited_for_before_one_is_tried() -> None:
    limit = Limit(8)
    limit.look(Seen(0.2, 1.6, 0.2, active=8))
    assert limit.allowed == 1
    limit.look(Seen(0.02, 0.16, 0.02, active=5))
    assert limit.allowed == 1
    limit.look(Seen(0.02, 0.08, 0.001, active=4))  # they wait for something
    assert limit.allowed == 8


def test_long_work_of_a_crowd_may_come_to_its_end_before_one_is_tried() -> None:
    limit = Limit(20)
    limit.look(Seen(0.2, 4.0, 0.2, active=20))
    limit.look(Seen(0.02, 0.14, 0.02, oldest_s=0.75, active=7))
    assert limit.allowed == 1
    limit.look(Seen(0.02, 0.04, 0.02, oldest_s=2.1, active=2))  # two that do not end
    assert limit.allowed == 20


def test_a_trial_that_is_not_full_is_given_up() -> None:
    limit = Limit(8)
    allowed = looked(limit, 1.0, looks=30)
    first = allowed.index(2)
    limit = Limit(8)
    looked(limit, 1.0, looks=first + 1)
    assert limit.allowed == 2
    for _ in range(6):
        limit.look(Seen(limit.pause_s, limit.pause_s, limit.pause_s))  # one is enough for what there is
    assert limit.allowed == 1


def test_nobody_is_tried_where_only_one_may() -> None:
    assert set(looked(Limit(1), 1.0, looks=50)) == {1}
