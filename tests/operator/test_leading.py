"""Two operators over one API server, one of which acts; and one operator whose API server goes away for a minute.

The lease is the real one, its clock is turned by the tests. Whatever dies, freezes or is silent, nothing is made twice.
"""

from __future__ import annotations

from typing import Any, cast

import pytest

from ringline_operator.kube import ApiError, Kube
from ringline_operator.lease import Lease
from ringline_operator.settings import OperatorSettings
from tests.operator.fake_api import FakeApi, Killed
from tests.operator.test_convergence import Process, claim, make_ready, pipeline, shape, unclaimed
from tests.operator.test_lease import RENEW, SECONDS, Clock

KINDS = ("MediaPipeline", "MediaSession", "Pod", "Event", "Lease")
SILENCE = ApiError(0, "ClientConnectorError", "nobody answers")


class Operator(Process):
    """An operator that acts only while it holds the lease."""

    def __init__(self, api: FakeApi, identity: str, clock: Clock) -> None:
        settings = OperatorSettings(identity=identity, lease_seconds=SECONDS, renew_seconds=RENEW)
        self.lease = Lease(cast("Kube", api), settings, clock)
        super().__init__(api, self.lease)

    async def settled(self) -> Any:
        """Come to rest; return what there is then."""
        await self.settle()
        return shape(self.api)


class Pair:
    def __init__(self) -> None:
        self.api, self.clock = FakeApi(), Clock()
        self.first, self.second = (Operator(self.api, name, self.clock) for name in ("first", "second"))

    async def until_second_leads(self) -> float:
        """Turn the clock by renewals until the second operator leads; return the seconds."""
        begun = self.clock.now
        while not await self.second.lease.renew():
            assert self.clock.now - begun < 60, "nobody takes over"
            self.clock.now += RENEW
        return self.clock.now - begun


async def story(pair: Pair) -> None:
    pair.api.put_object("MediaPipeline", "default", pipeline(replicas=3))
    pair.api.put_object("MediaSession", "default", claim("call"))
    await pair.first.lease.renew()
    await pair.second.lease.renew()


async def undisturbed() -> tuple[int, Any]:
    pair = Pair()
    await story(pair)
    return pair.api.calls, await pair.first.settled()


async def test_who_does_not_lead_does_nothing() -> None:
    pair = Pair()
    await story(pair)
    before = pair.api.calls
    pair.second.relist()
    await pair.second.look()
    assert pair.api.calls == before
    assert not pair.api.of("Pod")


@pytest.mark.parametrize("moment", ["die_before", "die_after"])
async def test_killed_at_any_call_the_other_takes_over_in_time_and_makes_nothing_twice(moment: str) -> None:
    begun, expected = await undisturbed()
    for call in range(begun + 1, begun + 12):
        pair = Pair()
        await story(pair)
        setattr(pair.api, moment, call)
        pair.first.relist()
        with pytest.raises(Killed):
            await pair.first.settle()
        pair.api.dead = False
        assert await pair.until_second_leads() <= 20
        await pair.second.settle()
        pods, phases = shape(pair.api)
        assert len(pods) == len(set(pods)) == len(expected[0]), f"after a kill at call {call}"
        assert [phase for _, phase in phases] == [phase for _, phase in expected[1]], f"after a kill at call {call}"


async def test_a_leader_that_was_frozen_finds_out_before_its_next_request() -> None:
    pair = Pair()
    await story(pair)
    pair.first.relist()
    # It has decided, and is stopped before anything of it is sent.
    pair.first.loop.look(("default", "voice"))
    await pair.until_second_leads()
    after = await pair.second.settled()
    before = pair.api.calls
    await pair.first.loop.hands.idle()
    assert pair.api.calls == before, "its own clock tells it"
    assert shape(pair.api) == after


async def test_a_leader_that_was_frozen_leaves_the_rest_of_its_work_to_the_other() -> None:
    pair = Pair()
    await story(pair)
    await pair.first.settle()
    pair.clock.now += SECONDS + 1
    pair.api.remove("Pod", "default", unclaimed(pair.api)[0])
    pair.first.relist()
    before = pair.api.calls
    await pair.first.look()
    assert pair.api.calls == before
    await pair.until_second_leads()
    await pair.second.settle()
    assert len(pair.api.of("Pod")) == 4


async def test_while_the_api_server_is_away_little_is_asked_and_afterwards_nothing_is_missing() -> None:
    api = FakeApi()
    api.put_object("MediaPipeline", "default", pipeline(replicas=40))
    process = Process(api)
    process.relist()
    api.refuse = dict.fromkeys(KINDS, SILENCE)
    looks = 10
    for _ in range(looks):
        await process.look()
    assert 0 < api.calls <= looks * OperatorSettings().workers, "what waits behind a failure is not tried"
    api.refuse = {}
    await process.settle()
    assert len(api.of("Pod")) == len(api.of("MediaSession")) == 40


async def test_after_a_minute_without_the_api_server_the_operator_goes_on_where_it_was() -> None:
    api, clock = FakeApi(), Clock()
    operator = Operator(api, "only", clock)
    api.put_object("MediaPipeline", "default", pipeline(replicas=3))
    await operator.lease.renew()
    before = await operator.settled()
    uids = {item["metadata"]["uid"] for item in api.of("Pod")}
    api.refuse = dict.fromkeys(KINDS, SILENCE)
    for _ in range(15):
        clock.now += RENEW
        with pytest.raises(ApiError):
            await operator.lease.renew()
        await operator.look()
    assert not operator.lease.held, "nobody knows who leads"
    api.refuse = {}
    assert await operator.lease.renew()
    assert await operator.settled() == before
    assert {item["metadata"]["uid"] for item in api.of("Pod")} == uids, "and no session was disturbed"


async def test_what_happened_while_the_api_server_was_away_is_repaired_afterwards() -> None:
    api = FakeApi()
    api.put_object("MediaPipeline", "default", pipeline(replicas=3))
    process = Process(api)
    await process.settle()
    api.refuse = dict.fromkeys(KINDS, SILENCE)
    await process.look()
    api.remove("Pod", "default", unclaimed(api)[0])
    api.put_object("MediaSession", "default", claim("call"))
    api.refuse = {}
    await process.settle()
    make_ready(api)
    await process.settle()
    pods, phases = shape(api)
    assert ("true", "call") in pods
    assert len(pods) == len(set(pods)) == 4
    assert {phase for _, phase in phases} == {"Running"}
