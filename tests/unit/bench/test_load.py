"""The world's clock: who is due when, what counts, and how late answers are."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ringline.bench import load
from ringline.bench.load import Done, StuckError, World, steps_of


class Clock:
    """Goes on by `tick` seconds each time it is read, and when somebody works."""

    def __init__(self, tick: float = 0.0001) -> None:
        self.now = 100.0
        self.tick = tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


class Waiting(queue.SimpleQueue[tuple[int, Any, float]]):
    """Lets the clock pass where a real one would wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def get(self, block: bool = True, timeout: float | None = None) -> tuple[int, Any, float]:
        if block and self.empty():
            self._clock.now += timeout or 0.0
        return super().get(block=False)


class Here:
    """Steps take `seconds` of the clock, in the caller's thread."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self.seen: list[tuple[int, Any]] = []

    def settle(self, agents: int, kernel: str, arguments: dict[str, Any]) -> str:
        return "here"

    def submit(self, agent: int, observation: Any, done: Done) -> None:
        self.seen.append((agent, observation))
        self._clock.now += self._seconds
        done(agent, observation)

    def close(self) -> None:
        pass


class Broken(Here):
    """Answers with what `result` gives, or not at all."""

    def __init__(self, result: Callable[[], Any] | None) -> None:
        super().__init__(Clock(), 0.0)
        self._result = result

    def submit(self, agent: int, observation: Any, done: Done) -> None:
        if self._result is not None:
            done(agent, self._result())


def test_agents_that_are_due_at_once_share_the_time_equally() -> None:
    clock = Clock()
    crowd = Here(clock, 0.01)
    sample = World(crowd, 4, 0.0, clock).run(1.0)
    steps = Counter(agent for agent, _ in crowd.seen)
    assert max(steps.values()) - min(steps.values()) <= 1
    assert sample.steps == pytest.approx(1.0 / 0.01, rel=0.1)


def test_an_agent_is_due_once_in_each_period() -> None:
    clock = Clock(tick=0.001)
    sample = World(Here(clock, 0.0), 2, 0.1, clock, Waiting(clock)).run(1.0)
    assert sample.steps == pytest.approx(2 * 10, abs=2)


def test_steps_while_the_world_gets_warm_do_not_count() -> None:
    clock = Clock()
    crowd = Here(clock, 0.01)
    sample = World(crowd, 1, 0.0, clock).run(1.0)
    assert len(crowd.seen) == pytest.approx(sample.steps * (1 + load.WARM), rel=0.05)


def test_the_delay_is_from_due_to_answered() -> None:
    clock = Clock(tick=1e-6)
    sample = World(Here(clock, 0.25), 1, 0.0, clock).run(2.0)
    assert sample.delays == pytest.approx([0.25] * sample.steps, abs=0.01)


def test_missed_steps_are_not_made_up_for() -> None:
    clock = Clock(tick=1e-6)
    crowd = Here(clock, 0.3)
    sample = World(crowd, 1, 0.1, clock).run(3.0)
    assert sample.steps == pytest.approx(3.0 / 0.3, abs=1)
    assert max(sample.delays) < 0.5, "no queue grows"


def test_an_observation_is_the_moment_in_milliseconds() -> None:
    clock = Clock(tick=1e-6)
    crowd = Here(clock, 0.5)
    World(crowd, 1, 0.5, clock).run(2.0)
    assert [moment for _, moment in crowd.seen[:3]] == pytest.approx([0, 500, 1000], abs=5)


def test_agents_begin_one_after_the_other_within_the_first_period() -> None:
    clock = Clock(tick=0.001)
    crowd = Here(clock, 0.0)
    World(crowd, 4, 0.4, clock, Waiting(clock)).run(0.5)
    assert [agent for agent, _ in crowd.seen[:5]] == [0, 1, 2, 3, 0]


def test_a_step_s_failure_ends_the_run() -> None:
    with pytest.raises(LookupError, match="no such world"):
        World(Broken(lambda: LookupError("no such world")), 1, 0.0).run(0.1)


def test_a_crowd_that_does_not_answer_is_called_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PATIENCE_S", 0.05)
    with pytest.raises(StuckError, match=r"3 of the steps have no answer after 0\.05s"):
        World(Broken(None), 3, 0.0).run(0.05)


class Pooled(Here):
    """Answers from other threads."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        super().__init__(Clock(), 0.0)
        self._pool = pool
        self.working = Counter[int]()
        self.most = 0
        self._lock = threading.Lock()

    def submit(self, agent: int, observation: Any, done: Done) -> None:
        with self._lock:
            self.working[agent] += 1
            self.most = max(self.most, self.working[agent])
        self._pool.submit(self._work, agent, done)

    def _work(self, agent: int, done: Done) -> None:
        with self._lock:
            self.working[agent] -= 1
        done(agent, agent)


def test_an_agent_has_one_step_on_its_way_at_most() -> None:
    with ThreadPoolExecutor(4) as pool:
        crowd = Pooled(pool)
        sample = World(crowd, 10, 0.0).run(0.1)
    assert crowd.most == 1
    assert sample.steps > 0
    assert not any(crowd.working.values()), "all that were on their way have been waited for"


def test_a_round_of_steps_gives_each_agent_s_result() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert steps_of(Pooled(pool), dict.fromkeys(range(5), 0)) == {agent: agent for agent in range(5)}


def test_a_step_without_an_answer_has_no_result() -> None:
    assert steps_of(Broken(None), {0: "", 1: ""}, wait_s=0.01) == {}


class Refusing(Here):
    def submit(self, agent: int, observation: Any, done: Done) -> None:
        raise RuntimeError("the pool is broken")


def test_a_step_that_the_crowd_refuses_has_its_error_for_a_result() -> None:
    results = steps_of(Refusing(Clock(), 0.0), {0: "", 1: ""})
    assert [str(results[agent]) for agent in (0, 1)] == ["the pool is broken"] * 2
