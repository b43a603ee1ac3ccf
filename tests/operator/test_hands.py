"""What looks decide is carried out side by side: users first, pipelines in turn, each session by one hand at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from ringline_operator.actions import Action, ClaimPod, CreatePod, CreateSession, DeleteSession, PatchPipeline
from ringline_operator.hands import PATIENCE_S, PORTION, Chain, Hands
from ringline_operator.queue import Key

VOICE, VIDEO = ("default", "voice"), ("default", "video")


def named(*names: str) -> list[Action]:
    return [CreateSession(name) for name in names]


class Desk:
    """Hands whose work is ended by the tests, one action after the other."""

    def __init__(self, limit: int = 2) -> None:
        self.now = 0.0
        self.hands = Hands(self._act, self._ended, limit, clock=lambda: self.now)
        self.begun: list[tuple[Key, str]] = []
        self.ended: list[tuple[str, Exception | None]] = []
        self._open: dict[str, asyncio.Future[None]] = {}

    async def _act(self, key: Key, action: Action) -> None:
        name = getattr(action, "name", "") or getattr(action, "session", "")
        self.begun.append((key, name))
        self._open[name] = asyncio.get_running_loop().create_future()
        await self._open[name]

    def _ended(self, chain: Chain, error: Exception | None) -> None:
        self.ended.append((chain.subject, error))

    async def give(self, key: Key, actions: Iterable[Action], *urgent: str) -> None:
        self.hands.give(key, actions, urgent)
        await self.turn()

    async def turn(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def end(self, name: str, error: BaseException | None = None) -> None:
        future = self._open.pop(name)
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
        await self.turn()

    @property
    def at_work(self) -> list[str]:
        return list(self._open)


async def test_no_more_are_acted_on_at_once_than_there_are_hands() -> None:
    desk = Desk(limit=2)
    await desk.give(VOICE, named("a", "b", "c"))
    assert desk.at_work == ["a", "b"]
    assert desk.hands.waiting == 1
    await desk.end("a")
    assert desk.at_work == ["b", "c"]
    await desk.hands.stop()


async def test_what_is_under_way_is_not_begun_again() -> None:
    desk = Desk()
    await desk.give(VOICE, named("a"))
    await desk.give(VOICE, named("a"))
    await desk.end("a")
    assert desk.begun == [(VOICE, "a")]
    assert not desk.hands.under_way(VOICE)
    await desk.give(VOICE, named("a"))
    assert len(desk.begun) == 2, "once it has ended it may be done again"
    await desk.hands.stop()


async def test_actions_about_one_session_keep_their_order() -> None:
    desk = Desk()
    await desk.give(VOICE, [CreatePod("call", "uid", 0), DeleteSession("call", "uid", "why")])
    assert len(desk.begun) == 1
    await desk.end("call")
    assert [name for _, name in desk.begun] == ["call", "call"]
    await desk.hands.stop()


async def test_a_claim_does_not_wait_behind_a_burst_of_replicas() -> None:
    desk = Desk(limit=2)
    await desk.give(VOICE, named(*(f"replica-{index}" for index in range(50))))
    await desk.give(VOICE, [ClaimPod("pod", "uid", "1", "from", "call", "uid")], "call")
    assert "call" in desk.at_work
    await desk.hands.stop()


async def test_a_burst_of_claims_leaves_hands_for_replicas() -> None:
    desk = Desk(limit=2)
    claims = [f"call-{index}" for index in range(50)]
    await desk.give(VOICE, named(*claims), *claims)
    await desk.give(VIDEO, named("replica"))
    assert desk.at_work == ["call-0", "call-1"]
    desk.now += PATIENCE_S
    await desk.end("call-0")
    assert desk.at_work == ["call-1", "call-2", "replica"], "it has waited long enough"
    await desk.hands.stop()


async def test_while_a_user_waits_nothing_else_is_begun_and_later_little() -> None:
    desk = Desk(limit=8)
    replicas = [f"replica-{index}" for index in range(10)]
    await desk.give(VOICE, [ClaimPod("pod", "uid", "1", "from", "call", "uid"), *named(*replicas)], "call")
    assert desk.at_work == ["call"]
    desk.now += PATIENCE_S
    await desk.give(VOICE, [])
    assert desk.at_work == ["call", "replica-0", "replica-1"]
    await desk.end("call")
    assert sorted(desk.at_work) == replicas[:8]
    await desk.hands.stop()


async def test_a_request_that_hangs_does_not_hold_up_what_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringline_operator.hands.PATIENCE_S", 0.01)
    desk = Desk(limit=8)
    await desk.give(VOICE, named("call", "replica"), "call")
    assert desk.at_work == ["call"]
    desk.now += 1
    async with asyncio.timeout(60):
        while "replica" not in desk.at_work:
            await asyncio.sleep(0.005)
    await desk.hands.stop()


async def test_pipelines_take_turns() -> None:
    desk = Desk(limit=1)
    await desk.give(VOICE, named("a", "b", "c"))
    await desk.give(VIDEO, named("x", "y"))
    for name in ("a", "b", "x", "c", "y"):
        await desk.end(name)
    assert [name for _, name in desk.begun] == ["a", "b", "x", "c", "y"]


async def test_the_pipelines_own_status_does_not_wait_for_its_sessions() -> None:
    desk = Desk(limit=1)
    await desk.give(VOICE, named("a", "b", "c"))
    await desk.give(VOICE, [PatchPipeline({})])
    await desk.end("a")
    assert desk.at_work == [""]
    await desk.hands.stop()


async def test_a_pod_that_is_promised_is_known_to_be() -> None:
    desk = Desk()
    await desk.give(VOICE, [ClaimPod("pod-0", "uid", "1", "pod", "call", "uid")], "call")
    assert desk.hands.under_way(VOICE) == {"call": "pod-0"}
    assert not desk.hands.under_way(VIDEO)
    await desk.end("call")
    assert not desk.hands.under_way(VOICE)


async def test_what_finds_no_room_is_asked_for_again_once_there_is_some() -> None:
    desk = Desk(limit=4)
    names = [f"replica-{index}" for index in range(PORTION + 10)]
    await desk.give(VOICE, named(*names))
    assert len(desk.hands.under_way(VOICE)) == PORTION
    assert not desk.hands.has_room(VOICE), "it is full"
    while desk.at_work:
        for name in desk.at_work:
            await desk.end(name)
    assert desk.hands.has_room(VOICE)
    assert not desk.hands.has_room(VOICE), "once is enough"


async def test_a_failure_ends_its_chain_and_no_other() -> None:
    desk = Desk(limit=2)
    await desk.give(VOICE, [*named("a", "b"), DeleteSession("a", "uid", "never reached")])
    error = RuntimeError("no")
    await desk.end("a", error)
    await desk.end("b")
    assert desk.ended == [("a", error), ("b", None)]
    assert not desk.hands.under_way(VOICE)


async def test_what_waits_of_a_pipeline_can_be_forgotten() -> None:
    desk = Desk(limit=1)
    await desk.give(VOICE, named("a"))
    await desk.give(VOICE, named("b"), "b")
    await desk.give(VOICE, named("c", "d"), "d")
    await desk.give(VIDEO, named("x"))
    desk.hands.drop(VOICE)
    assert set(desk.hands.under_way(VOICE)) == {"a", "b"}, "what has begun is ended"
    await desk.end("a")
    await desk.end("b")
    await desk.end("x")
    assert [name for _, name in desk.begun] == ["a", "b", "x"]


async def test_stopping_breaks_off_what_runs_and_begins_nothing_more() -> None:
    desk = Desk(limit=1)
    await desk.give(VOICE, named("a", "b"))
    await desk.hands.stop()
    await desk.turn()
    assert desk.begun == [(VOICE, "a")]
    assert desk.ended == []
    await desk.hands.idle()


async def test_the_end_of_the_process_is_not_taken_for_a_failure() -> None:
    class Ended(BaseException):
        pass

    desk = Desk()
    await desk.give(VOICE, named("a"))
    await desk.end("a", Ended())
    assert desk.ended == []
    with pytest.raises(Ended):
        await desk.hands.idle()
