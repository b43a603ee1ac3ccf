"""The agents of the benchmark: what one step computes and waits for. Workers load them by name; they know nothing of pools.

A step is that of an active-inference agent over discrete states: update the belief by the observation, weigh each action by the
free energy that it is expected to lead to, act. `Mixed` also asks a database and a peer and writes to a file, and waits for about 30 %
of its time.
"""

from __future__ import annotations

import ctypes
import math
import os
import sqlite3
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

TARGETS: Final = {
    name: f"ringline.bench.work:{kind}"
    for name, kind in {
        "none": "Silent",
        "python": "Pure",
        "numpy": "Numeric",
        "mixed": "Mixed",
        "mortal": "Mortal",
    }.items()
}
"""Kernel → what an agent is made of."""
_STATES: Final = 12
_ACTIONS: Final = 4
_NUMERIC_STATES: Final = 48
_SWEEPS: Final = 24
_HORIZON: Final = 28
_NUMERIC_SWEEPS: Final = 60
_NUMERIC_HORIZON: Final = 40
"""Sizes that make either step 2 to 3 ms long on a server's core, a tenth of what an agent of 40 Hz has."""


class Silent:
    """Computes nothing: what remains is the way to the agent and back."""

    def step(self, observation: int) -> int:
        """Return the observation."""
        return observation


class Pure:
    """The step in plain Python: holds the interpreter's lock from begin to end."""

    def __init__(self) -> None:
        self.likelihood = [[1.0 + (row * 7 + column * 3) % 5 for column in range(_STATES)] for row in range(_STATES)]
        self.moves = [
            [(state * (action + 2) + action) % _STATES for state in range(_STATES)] for action in range(_ACTIONS)
        ]
        self.belief = [1.0 / _STATES] * _STATES

    def step(self, observation: int) -> int:
        """Update the belief, and choose an action."""
        evidence = self.likelihood[observation % _STATES]
        for _ in range(_SWEEPS):
            self.belief = _normal([known * seen + 0.01 for known, seen in zip(self.belief, evidence, strict=True)])
        energies = [self._expected(moves) for moves in self.moves]
        return energies.index(min(energies))

    def _expected(self, moves: list[int]) -> float:
        belief, energy = self.belief, 0.0
        for _ in range(_HORIZON):
            reached = [0.01] * _STATES
            for state, known in enumerate(belief):
                reached[moves[state]] += known
            belief = _normal(reached)
            for row in self.likelihood:
                expected = sum(known * seen for known, seen in zip(belief, row, strict=True))
                energy += expected * math.log(expected)
        return energy


class Numeric:
    """The same step on arrays, larger: numpy holds the lock between its calls and through the short ones."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.likelihood = random.dirichlet(np.ones(_NUMERIC_STATES), _NUMERIC_STATES)
        self.moves = random.dirichlet(np.ones(_NUMERIC_STATES), (_ACTIONS, _NUMERIC_STATES))
        self.wanted = random.dirichlet(np.ones(_NUMERIC_STATES))
        self.belief = np.full(_NUMERIC_STATES, 1.0 / _NUMERIC_STATES)

    def step(self, observation: int) -> int:
        """Update the belief, and choose an action."""
        evidence = np.log(self.likelihood[observation % _NUMERIC_STATES])
        prior = np.log(self.belief + 1e-9)
        for _ in range(_NUMERIC_SWEEPS):
            surprise = evidence + prior
            self.belief = np.exp(surprise - surprise.max())
            self.belief /= self.belief.sum()
            prior = np.log(self.moves[0].T @ self.belief + 1e-9)
        return int(np.argmin([self._expected(moves) for moves in self.moves]))

    def _expected(self, moves: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        belief, energy = self.belief, 0.0
        ambiguity = -(self.likelihood * np.log(self.likelihood + 1e-9)).sum(axis=0)
        for _ in range(_NUMERIC_HORIZON):
            belief = moves.T @ belief
            expected = self.likelihood @ belief
            energy += float(expected @ (np.log(expected + 1e-9) - np.log(self.wanted)) + ambiguity @ belief)
        return energy


class Mixed(Numeric):
    """Computes, then writes to its history and to a file, reads, and tells a peer over a WebSocket and waits for the answer."""

    def __init__(self, agent_id: str, folder: str, url: str) -> None:
        super().__init__()
        self._url = url
        self._log = Path(folder, f"{agent_id}.log")
        # An agent's steps come one after the other, but not always in the same thread.
        self._history = sqlite3.connect(Path(folder, f"{agent_id}.db"), timeout=30.0, check_same_thread=False)
        _open.callback(self._history.close)
        self._history.execute("PRAGMA journal_mode = WAL")
        self._history.execute("PRAGMA synchronous = NORMAL")
        self._history.execute("CREATE TABLE IF NOT EXISTS history (moment INTEGER, action INTEGER)")

    def step(self, observation: int) -> int:
        """Compute, store, ask."""
        action = super().step(observation)
        with self._history as history:
            history.execute("INSERT INTO history VALUES (?, ?)", (observation, action))
        self._history.execute("SELECT action FROM history ORDER BY rowid DESC LIMIT 8").fetchall()
        with self._log.open("a", encoding="ascii") as log:
            log.write(f"{observation} {action}\n")
        peer = _peer(self._url)
        peer.send(str(action))
        return int(peer.recv())


class Mortal:
    """Counts its steps, keeps the count over its worker's death, and dies when it is told to."""

    def __init__(self) -> None:
        self.steps = 0

    def step(self, death: str) -> int:
        """Count; die of "exit" or "segfault"."""
        if death == "exit":
            os._exit(7)
        if death == "segfault":
            ctypes.string_at(0)
        self.steps += 1
        return self.steps

    def snapshot(self) -> int:
        """Give the count."""
        return self.steps

    def restore(self, steps: int) -> None:
        """Go on from a count."""
        self.steps = steps


_open = ExitStack()
_mine = threading.local()


def _peer(url: str) -> ClientConnection:
    """Give this thread's connection, made at its first step: as many as can wait at once."""
    found: ClientConnection | None = getattr(_mine, "peer", None)
    if found is None:
        from websockets.sync.client import connect

        found = _mine.peer = _open.enter_context(connect(url, compression=None))
    return found


def make(kernel: str, agent_id: str, arguments: dict[str, Any]) -> Any:
    """Make an agent in this process, for whoever has no pool that would."""
    kinds = {"none": Silent, "python": Pure, "numpy": Numeric, "mortal": Mortal}
    return Mixed(agent_id, **arguments) if kernel == "mixed" else kinds[kernel]()


def hang_up() -> None:
    """Close what agents of this process have open; for those who ended their agents and go on."""
    global _mine
    _open.close()
    _mine = threading.local()


def _normal(values: list[float]) -> list[float]:
    total = sum(values)
    return [value / total for value in values]
