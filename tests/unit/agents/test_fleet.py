"""Who waits for whom between callers, a worker and its pool, where two of them act at the same moment; the worker is played here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ringline.agents import Step
from ringline.agents.fleet import Fleet
from ringline.agents.ledger import Ledger
from ringline.agents.roster import Limits
from ringline.agents.values import pack
from ringline.agents.wire import KINDS, Orders, Row, pack_answers, unpack_orders
from ringline.data import RuntimeData

DONE = KINDS.index("done")
CANCELLED = KINDS.index("cancelled")


class Played:
    """A pool's session with one worker: keeps what it is told, and says what the test wants."""

    plan = SimpleNamespace(runtime=SimpleNamespace(max_message_size=1 << 20))

    def __init__(self, path: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.told: list[Orders] = []
        self.renewed: list[str] = []
        self.ledger = Ledger(path, 1, create=True)
        self.fleet = Fleet(1, Limits(), self.loop, lambda: Ledger(path, 1))
        session: Any = self
        self.fleet.attach(session)
        self.fleet.begin()
        made = Step("a", None)
        self.fleet.add(made, "m:C", {})

    def listen(self, _: str, take: Callable[[RuntimeData], None]) -> None:
        self.take = take

    def tell(self, _: str, orders: bytes) -> None:
        self.told.append(unpack_orders(orders))

    def pid(self, _: str) -> int | None:
        return None

    def renew(self, worker: str, _: str) -> None:
        self.renewed.append(worker)

    def up(self) -> None:
        self.fleet.worker_up("w0", 1)

    def answer(self, *rows: Row) -> None:
        self.take(RuntimeData.binary(pack_answers(1, 0, [], rows)))

    def sent(self) -> list[int]:
        return [order.step for orders in self.told for order in orders.steps]

    def step(self, **options: Any) -> Step:
        step = Step("a", b"", **options)
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
