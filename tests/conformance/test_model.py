"""Random operations, deaths and restarts on an arena answer as a plain model of it does."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ringline.graph.layout import Overflow
from ringline.names import HOST
from tests.conformance.scene import channel
from tests.conformance.world import CHANNELS, COMMIT_STEPS, DROP_STEPS, ENDS, NODES, World, plans

SENDERS = st.sampled_from((HOST, *NODES))
NAMES = st.sampled_from(CHANNELS)
WHICH = st.integers(0, 3)
SIZES = st.sampled_from((0, 1, 64, 65, 200))
METADATA = st.sampled_from((0, 0, 5, 512, 513, 700))
STEPS = st.sampled_from(("", *COMMIT_STEPS, *DROP_STEPS))
POLICIES: tuple[Overflow, ...] = ("block", "drop_oldest", "drop_newest", "latest", "deadline")
CHOICE = st.tuples(st.sampled_from(POLICIES), st.integers(1, 4))


class Machine(RuleBasedStateMachine):
    """The operations; `directory` and `small_heap` are set by the test."""

    directory: ClassVar[Path]
    small_heap: ClassVar[bool]

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    @initialize(choices=st.lists(CHOICE, min_size=len(ENDS), max_size=len(ENDS)))
    def begin(self, choices: list[tuple[Overflow, int]]) -> None:
        self.world = World(self.directory, plans(choices), small_heap=self.small_heap)

    @property
    def at(self) -> World:
        assert self.world is not None
        return self.world

    @rule(node=SENDERS, size=SIZES, meta=METADATA)
    def send(self, node: str, size: int, meta: int) -> None:
        self.at.send(node, size, meta)

    @rule(node=SENDERS, size=SIZES)
    def loan(self, node: str, size: int) -> None:
        self.at.loan(node, size)

    @rule(node=SENDERS, which=WHICH, meta=METADATA)
    def commit(self, node: str, which: int, meta: int) -> None:
        self.at.commit(node, which, meta)

    @rule(node=SENDERS, which=WHICH)
    def discard(self, node: str, which: int) -> None:
        self.at.discard(node, which)

    @rule(name=NAMES, times=st.integers(1, 3))
    def take(self, name: str, times: int) -> None:
        for _ in range(times):
            self.at.take(name)

    @rule(node=SENDERS, which=WHICH)
    def release(self, node: str, which: int) -> None:
        self.at.release(node, which)

    @rule(node=SENDERS, which=WHICH, meta=METADATA)
    def forward(self, node: str, which: int, meta: int) -> None:
        self.at.forward(node, which, meta)

    @rule(nodes=st.sets(SENDERS, max_size=2), channels=st.sets(NAMES, max_size=2))
    def flush(self, nodes: set[str], channels: set[str]) -> None:
        self.at.flush(sorted(nodes), sorted(channels))

    @rule(node=SENDERS)
    def stamp(self, node: str) -> None:
        self.at.stamp(node)

    @rule(node=SENDERS, really=st.integers(0, 3))
    def end(self, node: str, really: int) -> None:
        if really == 3:
            self.at.end(node)

    @rule(node=SENDERS, step=STEPS)
    def kill(self, node: str, step: str) -> None:
        self.at.kill(node, step)

    @rule(node=st.sampled_from(NODES), keep=st.booleans())
    def reclaim(self, node: str, keep: bool) -> None:
        self.at.reclaim(node, keep_queue=keep)

    @rule(node=st.sampled_from(NODES))
    def start(self, node: str) -> None:
        self.at.start(node)

    @invariant()
    def the_model_says_the_same(self) -> None:
        if self.world is not None:
            self.world.check()

    def teardown(self) -> None:
        if self.world is None:
            return
        try:
            self.world.finish()
        finally:
            self.world.close()
            shutil.rmtree(self.directory)


@pytest.mark.parametrize("small_heap", [False, True], ids=["roomy", "full heaps"])
def test_the_arena_does_what_the_model_does(session_dir: Path, small_heap: bool) -> None:
    machine = type("Machine", (Machine,), {"directory": session_dir, "small_heap": small_heap})
    chosen = settings(
        max_examples=30,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    run_state_machine_as_test(machine, settings=chosen)


def operations(world: World, chance: random.Random) -> list[Callable[[], object]]:
    """One of each kind, weighted as a busy session would."""
    node, name, which = chance.choice((HOST, *NODES)), chance.choice(CHANNELS), chance.randrange(4)
    size, meta = chance.choice([0, 10, 100, 200]), chance.choice([0, 8, 513])
    return [
        *[lambda: world.send(node, size, meta)] * 4,
        *[lambda: world.take(name)] * 6,
        *[lambda: world.release(node, which)] * 4,
        *[lambda: world.forward(node, which, meta)] * 2,
        lambda: world.loan(node, size),
        lambda: world.commit(node, which, meta),
        lambda: world.discard(node, which),
        lambda: world.stamp(node),
        lambda: world.flush([node], [name]),
        lambda: world.kill(node, chance.choice(["", *COMMIT_STEPS, *DROP_STEPS])) if chance.random() < 0.5 else None,
        *[lambda: world.reclaim(chance.choice(NODES), keep_queue=chance.random() < 0.5)] * 4,
        *[lambda: world.start(chance.choice(NODES))] * 4,
    ]


@pytest.mark.parametrize("small_heap", [False, True], ids=["roomy", "full heaps"])
@pytest.mark.parametrize("seed", range(4))
def test_a_long_life_with_many_deaths_loses_nothing(session_dir: Path, seed: int, small_heap: bool) -> None:
    chance = random.Random(seed)
    world = World(
        session_dir, plans([(chance.choice(POLICIES), chance.randint(1, 4)) for _ in ENDS]), small_heap=small_heap
    )
    try:
        for _ in range(1200):
            chance.choice(operations(world, chance))()
            world.check()
        world.finish()
        assert sum(c.taken for c in world.model.channels.values()) > 40
        assert sum(world.model.epoch.values()) > 8
    finally:
        world.close()


SIZE_SETS = {
    "empty": (0,),
    "a word": (8,),
    "a line more": (63, 64, 65),
    "pages": (4095, 4096, 4097),
    "all": (0, 1, 65536),
}


@pytest.mark.parametrize("sizes", SIZE_SETS.values(), ids=SIZE_SETS)
@pytest.mark.parametrize("capacity", [1, 2, 3, 4])
@pytest.mark.parametrize("policy", POLICIES)
def test_each_policy_and_capacity_does_what_the_model_does(
    session_dir: Path, policy: Overflow, capacity: int, sizes: tuple[int, ...]
) -> None:
    capacity = 1 if policy == "latest" else capacity
    world = World(
        session_dir,
        [channel("c0", HOST, "right", capacity, policy, deadline_ms=600_000)],
        small_heap=sizes == (0, 1, 65536),
    )
    try:
        bursts = [*itertools.product(range(capacity + 3), range(capacity + 2)), (capacity + 1, 0), (1, 1)]
        for sent, taken in bursts:
            for i in range(sent):
                world.send(HOST, sizes[i % len(sizes)], 520 if i % 3 == 2 else i)
            for i in range(taken):
                world.take("c0")
                if i % 2:
                    world.release("right", 0)
            world.check()
        world.finish()
    finally:
        world.close()


STARTS = {
    "taken wraps": ((1 << 32) - 3, 0),
    "dropped wraps": (0, (1 << 32) - 3),
    "their sum wraps": ((1 << 31) + 5, (1 << 31) - 8),
    "the intention's 31 bits wrap": (7, (1 << 31) - 2),
    "beyond the first round": ((3 << 32) - 2, (1 << 32) - 2),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("policy", POLICIES)
def test_positions_may_wrap(session_dir: Path, policy: Overflow, start: tuple[int, int]) -> None:
    """The order, the drops, a flush, deaths inside a drop and inside a commit, and the end, across 2^31 and 2^32."""
    world = World(
        session_dir, [channel("c0", "left", "right", 1 if policy == "latest" else 3, policy, deadline_ms=600_000)]
    )
    expected, (taken, dropped) = world.model.channels["c0"], start
    try:
        world.raw.start_at("c0", taken, dropped)
        expected.taken, expected.dropped, expected.head = taken, dropped, taken + dropped
        world.kill("left")  # a writer remembers the tail
        world.reclaim("left", keep_queue=True)
        world.start("left")
        for turn, step in enumerate(("", "C3", "C4", "C5", "D2", "D3", "D4", "")):
            for _ in range(4):
                world.send("left", 30, 600)
            world.take("c0")
            if turn == 3:
                world.flush([], ["c0"])
            world.kill("left", step)
            world.reclaim("left", keep_queue=True)
            world.start("left")
            world.release("right", 0)
            world.check()
        world.end("left")
        world.finish()
        assert world.sides["right"].readers["c0"].ended
    finally:
        world.close()
