"""Steps as futures: who is first (an answer, a cancellation, a failure) decides, once."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, as_completed, wait

import pytest

from ringline.agents import Step
from ringline.errors import AgentError


def test_the_first_word_is_the_last() -> None:
    step = Step("a", None)
    step.answer(1)
    step.answer(2)
    step.fail(AgentError("a", "too late"))
    assert (step.result(), step.cancel(), step.done()) == (1, False, True)
    failed = Step("a", None)
    failed.fail(AgentError("a", "first"))
    failed.answer(1)
    with pytest.raises(AgentError, match="first"):
        failed.get()


def test_who_waits_for_several_hears_of_a_cancelled_one() -> None:
    steps = [Step("a", None) for _ in range(3)]
    waiting = threading.Thread(target=lambda: wait(steps))
    waiting.start()
    steps[0].answer(0)
    assert steps[1].cancel()
    assert steps[1].cancel()  # as often as one likes
    steps[2].fail(AgentError("a", "no"))
    waiting.join()
    assert {step.cancelled() for step in as_completed(steps)} == {True, False}
    with pytest.raises(CancelledError):
        steps[1].result()
    steps[1].answer(5)
    steps[1].fail(AgentError("a", "late"))
    assert not steps[1].begin()


@pytest.mark.parametrize("kept", [True, False])
def test_a_step_that_was_sent_asks_its_sender(kept: bool) -> None:
    step = Step("a", None)
    step.sent = True
    step.recall = lambda each: kept and each.take()
    assert step.running()
    assert step.cancel() is kept
    assert (step.unwanted, step.cancelled(), step.running()) == (True, kept, not kept)
    step.answer(3)
    assert step.done()
    if not kept:
        assert step.result() == 3


def test_a_step_that_its_worker_did_not_begin_is_withdrawn_once() -> None:
    step = Step("a", None)
    step.recall = lambda _: False
    assert not step.cancel()
    assert not step.decided
    step.withdraw()
    step.withdraw()
    step.answer(1)
    assert (step.cancelled(), step.decided) == (True, True)
    answered = Step("a", None)
    answered.answer(1)
    answered.withdraw()
    assert answered.result() == 1


def test_one_that_has_begun_is_not_cancelled() -> None:
    step = Step("a", None)
    assert step.begin()
    assert not step.begin()
    assert (step.running(), step.cancel(), step.unwanted) == (True, False, True)
    step.answer("done")
    assert step.result() == "done"


def test_higher_priorities_and_earlier_steps_come_first() -> None:
    first, second, urgent = Step("a", None), Step("a", None), Step("a", None, priority=1)
    assert sorted([second, first, urgent], key=lambda step: step.rank) == [urgent, first, second]
    finer = [Step("a", None, priority) for priority in (0, 2.0**-32, 2.0**-60, -1, 2.0**53)]
    assert len({step.rank for step in finer}) == len(finer)
    assert [finer.index(step) for step in sorted(finer, key=lambda step: step.rank)] == [4, 1, 0, 2, 3]
    assert Step("a", None, deadline=-1).expired
    assert not Step("a", None, deadline=60).expired
