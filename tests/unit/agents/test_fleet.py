"""Who waits for whom between callers, a worker and its pool, where two of them act at the same moment; the worker is played here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ringline.agents import Step
from ringline.agents.fleet import Fleet
from ringline.agents.ledger import Ledger
from ringline.agents.roster import Limits, Worker
from ringline.agents.values import pack
from ringline.agents.wire import KINDS, Orders, Row, pack_answers, unpack_orders
from ringline.data import RuntimeData
from ringline.errors import AgentCrashed, ChannelFullError, SessionError
from ringline.host.exits import Circumstances, exit_record

DONE = KINDS.index("done")
CANCELLED = KINDS.index("cancelled")


class Played:
    """A pool's session with one worker: keeps what it is told, and says what the test wants."""

    plan = SimpleNamespace(runtime=SimpleNamespace(max_message_size=1 << 20))

    def __init__(self, path: Path, threads: int = 1, *, batching: bool = True) -> None:
        self.loop = asyncio.new_event_loop()
        self.told: list[Orders] = []
        self.renewed: list[str] = []
        self.refuses: Exception | None = None
        self.handed_out = 0
        self.ledger = Ledger(path, 1, create=True)
        self.fleet = Fleet(1, Limits(threads=threads, batching=batching), self.loop, lambda: Ledger(path, 1))
        session: Any = self
        self.fleet.attach(session)
        self.fleet.begin()
        made = Step("a", None)
        self.fleet.add(made, "m:C", {})

    def listen(self, _: str, take: Callable[[RuntimeData], None]) -> None:
        self.take = take

    def tell(self, _: str, orders: bytes) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.told.append(unpack_orders(orders))

    def pid(self, _: str) -> int | None:
        return None

    def renew(self, worker: str, _: str) -> None:
        self.renewed.append(worker)

    def hand_out(self, _: str) -> None:
        self.handed_out += 1

    def up(self, epoch: int = 1) -> None:
        self.fleet.worker_up("w0", epoch)

    def died(self, reason: str = "Killed") -> None:
        known = Circumstances("pool", kill_reason=reason)
        self.fleet.worker_ended(exit_record({"node": "w0", "code": 137, "signal": "SIGKILL"}, known))

    def turn(self) -> None:
        """Let the pool's loop do what is due now."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def answer(self, *rows: Row, said: Sequence[Any] = ()) -> None:
        self.take(RuntimeData.binary(pack_answers(1, 0, 1, list(said), rows)))

    def sent(self) -> list[int]:
        return [order.step for orders in self.told for order in orders.steps]

    def step(self, agent_id: str = "a", **options: Any) -> Step:
        step = Step(agent_id, b"", **options)
        self.fleet.submit(step)
        return step

    def close(self) -> None:
        self.fleet.end()
        self.ledger.close()
        self.loop.close()


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    made = Played(tmp_path / "ledger")
    yield made
    made.close()


@pytest.fixture
def threaded(tmp_path: Path) -> Iterator[Played]:
    made = Played(tmp_path / "ledger", threads=4)
    yield made
    made.close()


def test_a_step_that_is_cancelled_just_when_its_worker_notes_it_is_answered_all_the_same(played: Played) -> None:
    played.up()
    step = played.step()
    played.ledger.begin(0, 0, step.number)
    assert not step.cancel()  # the worker is about to begin
    assert played.ledger.cancelled(0, step.slot, step.number)  # and sees that nobody wants it
    played.answer(Row(step.number, CANCELLED, 0, b""))
    assert step.cancelled()
    assert played.fleet.facts().waiting == 0


def test_a_step_that_is_cancelled_after_it_was_sent_is_cancelled_once(played: Played) -> None:
    played.up()
    step = played.step()
    assert step.cancel()
    played.answer(Row(step.number, CANCELLED, 0, b""))
    assert step.cancelled()
    assert played.fleet.facts().workers[0].outcomes == {"cancelled": 1}


def test_a_step_that_is_being_cancelled_is_not_sent_meanwhile(played: Played) -> None:
    unwanted = played.step()
    recall = unwanted.recall
    assert recall is not None

    def slow(step: Step) -> bool:
        found = recall(step)
        played.up()  # the worker comes before the caller's thread goes on
        return found

    unwanted.recall = slow
    assert unwanted.cancel()
    assert played.sent() == []


def test_a_step_with_a_time_limit_is_no_trouble_for_a_pool_that_is_closed(played: Played) -> None:
    played.up()
    step = played.step(timeout=0.0)
    played.ledger.begin(0, 0, step.number)
    played.fleet.end()
    played.fleet._look_at_clocks_in_loop()
    assert played.renewed == []
    assert step.exception() is not None


def test_an_answer_that_can_not_be_read_fails_its_own_step_only(played: Played) -> None:
    played.up()
    broken, whole = played.step(), played.step()
    played.answer(Row(broken.number, DONE, 0, b"?"))
    played.answer(Row(whole.number, DONE, 0, pack({"n": 1})))
    assert str(broken.exception()).startswith("agent 'a': its answer can't be read")
    assert whole.result(30) == {"n": 1}


@pytest.mark.parametrize(
    "said",
    [
        ["jump", 1],
        ["_break", 1],
        ["outcome", []],
        [],
        5,
        "added",
        ["added"],
        ["added", "a", {}],
        ["progress", {}, 1, ""],
    ],
)
def test_a_word_that_nobody_knows_leaves_the_rest_of_its_batch(
    played: Played, said: Any, caplog: pytest.LogCaptureFixture
) -> None:
    played.up()
    step = played.step()
    played.answer(Row(step.number, DONE, 0, pack(1)), said=[said, ["added", "a", {"keeps": False, "restored": False}]])
    assert step.result(30) == 1
    assert played.fleet.agents["a"].lived
    assert "which can't be understood" in caplog.text


@pytest.mark.parametrize(("kind", "blob"), [(99, b""), (KINDS.index("failed"), pack("no pair")), (DONE, b"")])
def test_an_outcome_that_nobody_knows_is_an_error_of_its_own_step_only(played: Played, kind: int, blob: bytes) -> None:
    played.up()
    played.answer(said=[["added", "a", {"keeps": False, "restored": False}]])
    odd, whole = played.step(), played.step()
    played.turn()
    assert played.sent() == [odd.number, whole.number]
    played.answer(Row(odd.number, kind, 0, blob), Row(whole.number, DONE, 0, pack(2)))
    assert "its answer can't be read" in str(odd.exception(30))
    assert whole.result(30) == 2
    assert played.fleet.facts().waiting == 0


def test_steps_for_a_channel_without_room_are_sent_when_there_is_some(played: Played) -> None:
    played.up()
    played.refuses = ChannelFullError("full")
    steps = [played.step() for _ in range(3)]
    assert not any(step.sent for step in steps)
    assert played.fleet.facts().waiting == 3
    played.refuses = None
    while played.sent() != [step.number for step in steps]:
        if played.sent():
            played.answer(Row(played.sent()[-1], DONE, 0, pack(0)))
        played.turn()
    assert len(set(played.sent())) == 3  # none twice


def test_steps_for_a_session_that_is_closing_are_kept_for_its_end(played: Played) -> None:
    played.up()
    played.refuses = SessionError("over")
    step = played.step()
    assert not step.sent
    assert played.fleet.facts().waiting == 1
    played.fleet.end()
    assert "the pool was closed" in str(step.exception(30))


def test_of_several_steps_in_a_worker_that_ended_each_is_tried_alone_and_one_is_blamed(threaded: Played) -> None:
    for name in "bc":
        threaded.fleet.add(Step(name, None), "m:C", {})
    threaded.up()
    steps = [threaded.step(name) for name in "abc"]
    for thread, step in enumerate(steps[:2]):
        threaded.ledger.begin(0, thread, step.number)
    before = len(threaded.sent())
    threaded.died()
    assert threaded.handed_out == 1
    assert not any(step.done() for step in steps)
    threaded.up(2)
    assert threaded.sent()[before:] == [steps[0].number]  # alone, though others wait
    threaded.ledger.begin(0, 0, steps[0].number)
    threaded.died("SegmentationFault")
    with pytest.raises(AgentCrashed, match="SegmentationFault"):
        steps[0].result(30)
    threaded.up(3)
    assert threaded.sent()[-1] == steps[1].number
    threaded.take(RuntimeData.binary(pack_answers(3, 0, 1, [], [Row(steps[1].number, DONE, 0, pack("lives"))])))
    assert steps[1].result(30) == "lives"
    assert threaded.sent()[-1] == steps[2].number


def test_a_suspect_that_is_cancelled_or_whose_agent_is_gone_is_not_tried(threaded: Played) -> None:
    for name in "bc":
        threaded.fleet.add(Step(name, None), "m:C", {})
    threaded.up()
    steps = [threaded.step(name) for name in "abc"]
    for thread, step in enumerate(steps):
        threaded.ledger.begin(0, thread, step.number)
    threaded.died()
    assert steps[0].cancel()
    threaded.fleet.drop("b")
    threaded.up(2)
    assert threaded.sent()[-1] == steps[2].number
    assert "removed" in str(steps[1].exception(30))


def test_the_more_waits_the_more_is_sent_ahead_and_the_longer_answers_wait_for_company() -> None:
    worker = Worker(0, "w0")
    worker.step_s = 0.003
    assert (worker.ahead(1), worker.linger_us) == (6, 2000)
    for _ in range(75):
        worker.wait(Step("a", b""))
    assert worker.ahead(1) == 13
    assert worker.linger_us == 16_000  # five of the thirteen steps
    worker.hands = 3
    assert worker.ahead(20) == 40  # two for each thread
    assert 0 < worker.linger_us < 16_000


def test_without_batches_each_step_has_a_message_of_its_own_when_its_turn_comes(tmp_path: Path) -> None:
    played = Played(tmp_path / "alone", threads=2, batching=False)
    for name in "bc":
        played.fleet.add(Step(name, None), "m:C", {})
    steps = [played.step(name) for name in "abc"]
    played.up()
    assert [[order.step for order in orders.steps] for orders in played.told] == [[step.number] for step in steps[:2]]
    assert {orders.linger_us for orders in played.told} == {0}
    played.answer(Row(steps[0].number, DONE, 0, pack(0)))
    assert played.sent() == [step.number for step in steps]
    played.close()


def test_a_worker_is_sent_more_before_the_rest_is_done_that_lingering_answers_leave(played: Played) -> None:
    played.up()
    played.answer(said=[["added", "a", {"keeps": False, "restored": False}]])
    (worker,) = played.fleet.workers
    worker.step_s = 0.003
    steps = [played.step() for _ in range(60)]
    played.turn()
    sent = len(played.sent())
    together = int(played.told[-1].linger_us / 3000)  # answers that come at once
    assert together >= 4
    answered = 0
    while len(played.sent()) == sent:
        batch = steps[answered : answered + together]
        played.answer(*(Row(step.number, DONE, 3000, pack(0)) for step in batch))
        answered += together
    assert sent - answered >= together  # it has enough for as long as the next answers linger
    assert len(set(played.sent())) == len(played.sent())
