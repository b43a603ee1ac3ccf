"""One forager: an active-inference agent that looks for food it cannot see from afar.

The world is a square of patches, one of which is rich at a time and drifts to a neighbour now and then. An agent knows where it
stands and whether it just found food; it believes in a distribution over which patch is rich. Each step it updates the belief,
measures its surprise as variational free energy, and plans a few moves ahead by expected free energy: what a plan promises
to eat, and what it promises to learn. Formulas as in Parr, Pezzulo and Friston, Active Inference (2022), chapter 4.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
MOVES = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])
FOOD_IN_RICH, FOOD_ELSEWHERE = 0.8, 0.1
DRIFT = 0.02
"""How likely the rich patch moves to a neighbour within a step."""
PREFERENCE = np.log(np.array([0.1, 0.9]))
"""Log of the wished-for distribution of (nothing, food)."""
PRECISION = 4.0


class Forager:
    """Steps take ``{"food": 0|1}`` and give the move, where it leads, and what the agent believes."""

    def __init__(self, agent_id: str, state: Any, side: int = 4, horizon: int = 3, seed: int = 0) -> None:
        self.agent_id, self.state, self.side = agent_id, state, side
        self.random = np.random.default_rng(seed)
        self.place = int(self.random.integers(side * side))
        self.belief = np.full(side * side, 1 / side**2)
        self.age = 0
        self.next = self._neighbours()
        self.drift = (1 - DRIFT) * np.eye(side * side) + DRIFT * self._spread()
        self.plans = np.array(list(itertools.product(range(len(MOVES)), repeat=horizon)))

    def step(self, seen: dict[str, int]) -> dict[str, Any]:
        self.age += 1
        free_energy = self.update(seen["food"])
        plan = self.choose()
        self.place = int(self.next[self.place, plan[0]])
        # What the others may read, and the picture shows: one key per agent, so nobody waits for anybody.
        self.state.put(f"belief/{self.agent_id}", self.belief)
        return {"place": self.place, "age": self.age, "free_energy": free_energy}

    def update(self, food: int) -> float:
        """Take in whether there was food here; how surprising that was: variational free energy, in nats."""
        prior = self.drift @ self.belief
        likelihood = np.where(np.arange(self.side**2) == self.place, FOOD_IN_RICH, FOOD_ELSEWHERE)
        likelihood = likelihood if food else 1 - likelihood
        joint = likelihood * prior
        self.belief = joint / joint.sum()
        return float(np.sum(self.belief * (np.log(self.belief + 1e-16) - np.log(joint + 1e-16))))

    def choose(self) -> Array:
        """Draw a plan; the lower its expected free energy, the likelier."""
        expected: Array = np.zeros(len(self.plans))
        places = np.full(len(self.plans), self.place)
        belief = self.belief
        for move in self.plans.T:
            places = self.next[places, move]
            belief = self.drift @ belief
            expected += self.expected_free_energy(belief)[places]
        weights = np.exp(-PRECISION * (expected - expected.min()))
        chosen: Array = self.plans[self.random.choice(len(self.plans), p=weights / weights.sum())]
        return chosen

    def expected_free_energy(self, belief: Array) -> Array:
        """Give it for standing on each patch: the wish that is missed, less what is learnt there about the rich patch."""
        rich = np.eye(self.side**2)
        food = FOOD_IN_RICH * rich + FOOD_ELSEWHERE * (1 - rich)  # p(food | standing here, rich there)
        outcome = np.stack([1 - food, food])
        predicted = outcome @ belief
        ambiguity = -np.sum(outcome * np.log(outcome), axis=0) @ belief
        entropy = -np.sum(predicted * np.log(predicted), axis=0)
        learnt = entropy - ambiguity
        total: Array = -(predicted.T @ PREFERENCE) - learnt
        return total

    def snapshot(self) -> dict[str, Any]:
        """Everything that a new process needs to go on as this agent, dice included."""
        dice = self.random.bit_generator.state["state"]
        return {
            "belief": self.belief,
            "place": self.place,
            "age": self.age,
            "dice": {k: str(v) for k, v in dice.items()},
        }

    def restore(self, kept: dict[str, Any]) -> None:
        self.belief, self.place, self.age = kept["belief"], kept["place"], kept["age"]
        state = dict(self.random.bit_generator.state)
        self.random.bit_generator.state = state | {"state": {k: int(v) for k, v in kept["dice"].items()}}

    def _neighbours(self) -> Array:
        """Give the patch behind each move from each patch; the border is a wall."""
        rows, columns = np.divmod(np.arange(self.side**2), self.side)
        new_rows = np.clip(rows[:, None] + MOVES[:, 0], 0, self.side - 1)
        new_columns = np.clip(columns[:, None] + MOVES[:, 1], 0, self.side - 1)
        there: Array = new_rows * self.side + new_columns
        return there

    def _spread(self) -> Array:
        """Give where the rich patch may drift: column j is the distribution after patch j."""
        spread = np.zeros((self.side**2, self.side**2))
        for patch, ways in enumerate(self.next[:, 1:]):
            for way in ways:
                spread[way, patch] += 0.25
        return spread
