"""Restart decisions, with time as an argument."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline.host.restart import RestartHistory, RestartPolicy


def test_the_first_restart_is_immediate_and_later_ones_wait_twice_as_long() -> None:
    history = RestartHistory(RestartPolicy(max_restarts=5, backoff_s=1.0))
    assert [history.next_delay(0.0) for _ in range(5)] == [0.0, 1.0, 2.0, 4.0, 8.0]


def test_no_restart_is_left_when_they_are_used_up() -> None:
    history = RestartHistory(RestartPolicy(max_restarts=2))
    assert [history.next_delay(1.0) for _ in range(4)] == [0.0, 1.0, None, None]
    assert history.restarts == 2


def test_zero_restarts_means_none() -> None:
    assert RestartHistory(RestartPolicy(max_restarts=0)).next_delay(0.0) is None


def test_the_wait_has_a_ceiling() -> None:
    history = RestartHistory(RestartPolicy(max_restarts=50, backoff_s=1.0, max_backoff_s=5.0))
    assert max(delay for _ in range(50) if (delay := history.next_delay(0.0)) is not None) == 5.0


def test_restarts_outside_the_window_are_forgotten_but_counted() -> None:
    history = RestartHistory(RestartPolicy(max_restarts=1, window_s=10.0))
    assert history.next_delay(0.0) == 0.0
    assert history.next_delay(9.0) is None
    assert history.next_delay(20.0) == 0.0
    assert history.restarts == 2


def test_a_window_of_zero_never_forgets() -> None:
    history = RestartHistory(RestartPolicy(max_restarts=1, window_s=0.0))
    assert history.next_delay(0.0) == 0.0
    assert history.next_delay(1e9) is None


@given(
    st.lists(st.floats(0, 1e4), min_size=1, max_size=60).map(sorted),
    st.integers(0, 5),
    st.floats(0.0, 10.0),
    st.floats(1.0, 100.0),
)
def test_never_more_restarts_in_a_window_than_allowed(
    times: list[float], most: int, backoff_s: float, window_s: float
) -> None:
    policy = RestartPolicy(most, backoff_s, 30.0, window_s)
    history = RestartHistory(policy)
    granted = []
    for now in times:
        delay = history.next_delay(now)
        if delay is not None:
            assert 0.0 <= delay <= policy.max_backoff_s
            granted.append(now)
    for now in granted:
        assert sum(now - window_s <= other <= now for other in granted) <= most
    assert history.restarts == len(granted)


def test_an_ordered_end_uses_up_nothing_and_counts() -> None:
    history = RestartHistory(RestartPolicy(max_restarts=1, backoff_s=5.0))
    for _ in range(3):
        history.order()
        assert history.next_delay(1.0) == 0.0
    assert history.next_delay(2.0) == 0.0
    assert history.next_delay(3.0) is None
    history.order()
    assert (history.next_delay(4.0), history.restarts) == (0.0, 5)


@pytest.mark.parametrize("calls", [1, 2000])
def test_the_doubling_never_overflows(calls: int) -> None:
    history = RestartHistory(RestartPolicy(max_restarts=calls, backoff_s=1.0, max_backoff_s=60.0))
    delays = [history.next_delay(0.0) for _ in range(calls)]
    assert delays[-1] == (0.0 if calls == 1 else 60.0)
