"""What counts as failed, lost and begun anew when an agent dies."""

from __future__ import annotations

from typing import Any

import pytest

from ringline.bench import deaths
from ringline.bench.deaths import kill_one
from ringline.bench.load import Done, steps_of
from ringline.bench.work import Mortal


class Crowd:
    """Mortal agents; what a death does to the others is up to the subclass."""

    def settle(self, agents: int, kernel: str, arguments: dict[str, Any]) -> str:
        assert kernel == "mortal"
        self.agents = [Mortal() for _ in range(agents)]
        self.dead = False
        return "test"

    def submit(self, agent: int, observation: Any, done: Done) -> None:
        if observation:
            self.die()
            done(agent, OSError("its worker ended"))
        else:
            self.live(agent, done)

    def live(self, agent: int, done: Done) -> None:
        done(agent, self.agents[agent].step(""))

    def die(self) -> None:
        self.dead = True

    def close(self) -> None:
        pass


class AllFail(Crowd):
    """As a pool that is broken for good."""

    def live(self, agent: int, done: Done) -> None:
        if self.dead:
            raise RuntimeError("the pool is broken")
        super().live(agent, done)


class Forgetful(Crowd):
    """As a pool whose new process has new agents: they count the steps since."""

    def die(self) -> None:
        self.agents = [Mortal() for _ in self.agents]


class Silent(Crowd):
    """As a pool that waits for ever for the odd steps of a dead process."""

    def live(self, agent: int, done: Done) -> None:
        if not self.dead or agent % 2 == 0:
            super().live(agent, done)


def settled(crowd: Crowd) -> Crowd:
    """A crowd whose agents have done a step."""
    crowd.settle(10, "mortal", {})
    steps_of(crowd, dict.fromkeys(range(10), ""))
    return crowd


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Crowd, {"failed": 0, "lost": 0, "anew": 0}),
        (AllFail, {"failed": 9, "lost": 9, "anew": 0}),
        (Forgetful, {"failed": 0, "lost": 0, "anew": 9}),
        (Silent, {"failed": 5, "lost": 5, "anew": 0}),
    ],
)
def test_the_others_are_counted(kind: type[Crowd], expected: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deaths, "WAIT_S", 0.2)
    assert kill_one(settled(kind()), 10, "exit") == expected


class ForgetfulAfterwards(Crowd):
    """As a pool that finishes what is on its way and then goes on with new agents."""

    def __init__(self) -> None:
        self.steps = 0

    def live(self, agent: int, done: Done) -> None:
        self.steps += 1
        if self.steps == 2 * len(self.agents):
            self.agents = [Mortal() for _ in self.agents]
        super().live(agent, done)


def test_agents_that_forgot_are_counted() -> None:
    found = kill_one(settled(ForgetfulAfterwards()), 10, "segfault")
    assert (found["failed"], found["lost"]) == (0, 0)
    assert found["anew"] == 9


def test_a_count_goes_on_from_its_snapshot() -> None:
    before, after = Mortal(), Mortal()
    before.step("")
    after.restore(before.snapshot())
    assert after.step("") == 2
