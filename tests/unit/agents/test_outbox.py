"""Answers on their way out: alone when nothing follows, together when much waits, and never behind a long step."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from ringline.agents.outbox import HEADROOM, Memory, Outbox
from ringline.agents.stage import Outcome
from ringline.agents.values import pack, unpack
from ringline.agents.wire import KINDS, Answers, unpack_answers
from ringline.data import RuntimeData

NOW = 1_000_000_000
LONG_S = 600.0


class Post:
    """What was sent."""

    def __init__(self) -> None:
        self.batches: list[Answers] = []
        self.came = threading.Event()

    def __call__(self, data: RuntimeData) -> None:
        self.batches.append(unpack_answers(bytes(data.as_numpy().data)))
        self.came.set()

    def steps(self) -> list[list[int]]:
        return [[row.step for row in batch.rows] for batch in self.batches]


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def outbox(post: Post) -> Iterator[Outbox]:
    made = Outbox(3, HEADROOM + 1000, post, lambda: 5)
    made.linger_s = LONG_S
    made._left.set()  # as if somebody swept already: no thread is needed for what does not wait
    yield made
    made.close()


def done(value: object = None) -> Outcome:
    return Outcome("done", pack(value))


def test_the_last_answer_takes_all_along(outbox: Outbox, post: Post) -> None:
    outbox.say("added", "a", {})
    for step in (1, 2):
        outbox.outcome(step, done(step), 7, NOW, last=False)
    assert post.batches == []
    outbox.outcome(3, done(3), 1 << 40, NOW, last=True)
    assert post.steps() == [[1, 2, 3]]
    (batch,) = post.batches
    assert (batch.epoch, batch.hands, batch.said) == (3, 5, [["added", "a", {}]])
    assert batch.resident > 0
    assert [row.busy_us for row in batch.rows] == [7, 7, 0xFFFFFFFF]
    assert unpack(batch.rows[2].blob) == 3
    outbox.flush()
    assert len(post.batches) == 1  # nothing is left


def test_an_answer_that_has_waited_long_enough_goes(outbox: Outbox, post: Post) -> None:
    outbox.linger_s = 0.01
    outbox.outcome(1, done(), 0, NOW, last=False)
    outbox.outcome(2, done(), 0, NOW + 9_000_000, last=False)
    assert post.batches == []
    outbox.outcome(3, done(), 0, NOW + 11_000_000, last=False)
    assert post.steps() == [[1, 2, 3]]


def test_no_message_is_larger_than_it_may_be(outbox: Outbox, post: Post) -> None:
    outbox.outcome(1, done("x" * 400), 0, NOW, last=False)
    outbox.outcome(2, done("x" * 700), 0, NOW, last=False)  # fits beside nothing, and is more than half
    assert post.steps() == [[1], [2]]
    outbox.outcome(3, done("x" * 2000), 0, NOW, last=True)
    (row,) = post.batches[-1].rows
    assert KINDS[row.kind] == "unsendable"
    assert "a result of 2006 bytes can't be sent" in unpack(row.blob)[0]


def test_an_error_goes_with_its_traceback(outbox: Outbox, post: Post) -> None:
    outbox.outcome(1, Outcome("failed", error="e" * 9999, traceback="t"), 0, NOW, last=True)
    (row,) = post.batches[0].rows
    assert KINDS[row.kind] == "failed"
    assert unpack(row.blob) == ["e" * 4096, "t"]


def test_what_a_long_step_leaves_behind_is_sent_all_the_same(post: Post) -> None:
    outbox = Outbox(1, HEADROOM + 1000, post)
    outbox.outcome(1, done(), 0, time.monotonic_ns(), last=False)
    assert post.came.wait(60)  # no second answer came
    assert post.steps() == [[1]]
    post.came.clear()
    outbox.outcome(2, done(), 0, time.monotonic_ns(), last=False)
    assert post.came.wait(60)
    assert post.steps() == [[1], [2]]
    sweeper = outbox._sweeper
    assert sweeper is not None
    outbox.close()
    sweeper.join(60)
    assert not sweeper.is_alive()


def test_nothing_is_sent_once_it_is_closed(outbox: Outbox, post: Post) -> None:
    outbox.outcome(1, done(), 0, NOW, last=False)
    outbox.close()
    outbox.close()
    outbox.flush()
    outbox.outcome(2, done(), 0, NOW, last=True)
    assert post.batches == []


def test_memory_is_looked_at_now_and_then() -> None:
    memory = Memory()
    first = memory.resident_bytes(NOW)
    assert first > 1 << 20
    assert memory.resident_bytes(NOW + 1000) == first
    memory.close()
    memory.close()
