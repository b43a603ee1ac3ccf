"""The lease, with a clock that the tests turn: two operators, one of which acts."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from ringline_operator.kube import ApiError, Kube
from ringline_operator.lease import Lease
from ringline_operator.settings import OperatorSettings
from tests.operator.fake_api import FakeApi

SECONDS, RENEW = 15.0, 4.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pair:
    """Two operators over one API server, and the time."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.clock = Clock()
        self.first, self.second = self.operator("first"), self.operator("second")

    def operator(self, identity: str) -> Lease:
        settings = OperatorSettings(identity=identity, lease_seconds=SECONDS, renew_seconds=RENEW)
        return Lease(cast("Kube", self.api), settings, self.clock)

    @property
    def holder(self) -> str:
        (found,) = self.api.of("Lease")
        return str(found["spec"]["holderIdentity"])

    async def until_taken(self, lease: Lease) -> float:
        """Turn the clock by renewals until `lease` is held; return the seconds."""
        begun = self.clock.now
        while not await lease.renew():
            assert self.clock.now - begun < 60, "nobody takes over"
            self.clock.now += RENEW
        return self.clock.now - begun


async def test_the_first_to_come_holds_the_lease_and_the_other_waits() -> None:
    pair = Pair()
    assert await pair.first.renew()
    assert not await pair.second.renew()
    assert (pair.first.held, pair.second.held) == (True, False)
    assert pair.holder == "first"


async def test_a_holder_that_renews_keeps_it() -> None:
    pair = Pair()
    for _ in range(20):
        assert await pair.first.renew()
        assert not await pair.second.renew()
        pair.clock.now += RENEW
    assert pair.first.held


async def test_each_beginning_is_told_once_and_a_renewal_is_none() -> None:
    pair = Pair()
    await pair.first.renew()
    assert pair.first.begun.is_set()
    pair.first.begun.clear()
    pair.clock.now += RENEW
    await pair.first.renew()
    assert not pair.first.begun.is_set()
    pair.clock.now += SECONDS + 1  # frozen, or nobody answered
    await pair.first.renew()
    assert pair.first.begun.is_set(), "what was missed meanwhile nobody knows"


async def test_after_a_death_the_other_takes_over_within_twenty_seconds() -> None:
    pair = Pair()
    await pair.first.renew()
    pair.clock.now += 0.1
    await pair.second.renew()
    assert await pair.until_taken(pair.second) <= 20
    assert pair.holder == "second"


async def test_a_frozen_leader_finds_that_it_has_lost_before_it_acts() -> None:
    pair = Pair()
    await pair.first.renew()
    await pair.second.renew()
    await pair.until_taken(pair.second)
    assert not pair.first.held, "its own clock tells it, before it has asked anybody"
    assert not await pair.first.renew()
    assert not pair.first.taken.is_set()


async def test_there_is_no_moment_at_which_both_hold_it() -> None:
    pair = Pair()
    await pair.first.renew()
    for _ in range(40):
        pair.clock.now += 0.5
        await pair.second.renew()
        assert not (pair.first.held and pair.second.held)
    assert pair.second.held


async def test_who_ends_in_order_gives_it_back() -> None:
    pair = Pair()
    await pair.first.renew()
    await pair.first.stop()
    assert not pair.first.held
    assert pair.holder == ""
    assert await pair.second.renew(), "and nobody has to wait"


async def test_a_stranger_that_is_slow_is_judged_by_our_clock_not_by_its_stamps() -> None:
    pair = Pair()
    await pair.first.renew()
    (body,) = pair.api.of("Lease")
    body["spec"]["renewTime"] = "1999-01-01T00:00:00.000000Z"
    pair.api.put_object("Lease", "ringline-system", body)
    assert not await pair.second.renew(), "an old stamp alone may be a wrong clock"


async def test_of_two_that_find_it_free_at_once_one_gets_it() -> None:
    pair = Pair()
    await pair.first.renew()
    await pair.first.stop()
    results = await asyncio.gather(pair.first.renew(), pair.second.renew())
    assert sorted(results) == [False, True] or pair.holder in {"first", "second"}
    assert not (pair.first.held and pair.second.held)


async def test_an_api_server_that_fails_costs_the_lease_after_its_time() -> None:
    pair = Pair()
    await pair.first.renew()
    pair.api.refuse["Lease"] = ApiError(503, "ServiceUnavailable", "down")
    with pytest.raises(ApiError):
        await pair.first.renew()
    pair.clock.now += SECONDS - 0.1
    assert pair.first.held
    pair.clock.now += 0.2
    assert not pair.first.held


async def test_the_background_task_outlives_a_failing_api_server() -> None:
    pair = Pair()
    settings = OperatorSettings(identity="third", lease_seconds=SECONDS, renew_seconds=0.005)
    lease = Lease(cast("Kube", pair.api), settings, pair.clock)
    pair.api.refuse["Lease"] = ApiError(503, "ServiceUnavailable", "down")
    lease.start()
    await asyncio.sleep(0.02)
    assert not lease.held
    del pair.api.refuse["Lease"]
    await asyncio.wait_for(lease.taken.wait(), 30)
    await lease.stop()
    assert pair.holder == ""


async def test_a_lease_that_nobody_ever_held_is_taken_at_once() -> None:
    pair = Pair()
    body = {"kind": "Lease", "metadata": {"name": "ringline-operator"}}
    await cast("Kube", pair.api).create("Lease", "ringline-system", body)
    assert await pair.first.renew()
    assert pair.holder == "first"
