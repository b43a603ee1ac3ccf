"""What a pool knows of its agents and workers: plain state, changed by `fleet` alone."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from ringline.agents.gauges import WorkerFacts
from ringline.agents.ledger import SLOTS
from ringline.agents.outbox import LINGER_S
from ringline.agents.steps import Step
from ringline.agents.wire import Order

AHEAD_S: Final = 0.02
"""So much work is sent ahead to a worker: enough that it never waits, little enough that priorities count."""
MOST_AHEAD_S: Final = 0.04
"""So much where many steps wait: a quarter of what they wait for anyway, in fewer messages."""
REFILL: Final = 0.65
"""A worker is sent more when it has less than this share of that: answers linger for 0.4 of it at most, so the first batch of them tells."""
WINDOW: Final = 32
"""Steps of one agent that may be on their way; 1 for an agent with snapshots, so that none is run twice."""
BUCKETS: Final = 32
Waiting = list[tuple[int, Step]]


@dataclass
class Agent:
    """One agent: what it is made of, where it lives, which of its steps are on their way."""

    number: int
    agent_id: str
    target: str
    arguments: dict[str, Any]
    worker: Worker
    made: Step
    window: int = 1
    flying: int = 0
    lived: bool = False
    broken: str = ""
    """Why it can't be made: it ended or held up its worker when it was tried."""
    waiting: Waiting = field(default_factory=list)

    def introduction(self) -> list[Any]:
        """Give the order that makes it."""
        return [self.number, self.agent_id, self.made.number, self.target, self.arguments, self.lived]


@dataclass
class Worker:
    """One worker process over all its incarnations."""

    index: int
    name: str
    epoch: int = 0
    up: bool = False
    lost: bool = False
    recycling: bool = False
    agents: dict[str, Agent] = field(default_factory=dict)
    ready: Waiting = field(default_factory=list)
    flying: dict[int, Step] = field(default_factory=dict)
    suspects: list[Step] = field(default_factory=list)
    orders: list[list[Any]] = field(default_factory=list)
    slots: list[int] = field(default_factory=lambda: list(range(SLOTS)))
    making: set[int] = field(default_factory=set)
    """Agents that it was told to make, by the number of their first step."""
    tasks: int = 0
    step_s: float = 0.02
    """Mean time of a step; begins high, so that a worker is not sent much before it is known."""
    hands: int = 1
    """How many steps it did at once when it answered last."""
    rss: int = 0
    restarts: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    """How its processes ended, by reason."""
    histogram: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    busy_s: float = 0.0

    def introduce(self, agent: Agent) -> None:
        """Have it make an agent, unless that is known to be bad for it."""
        if not agent.broken:
            self.orders.append(agent.introduction())
            self.making.add(agent.made.number)

    def observe(self, busy_us: int) -> None:
        """Take note of how long a step took."""
        self.histogram[min(BUCKETS - 1, busy_us.bit_length())] += 1
        self.busy_s += busy_us * 1e-6
        self.step_s += 0.2 * (max(busy_us, 1) * 1e-6 - self.step_s)

    def wait(self, step: Step) -> None:
        """Let a step wait until it may be sent."""
        heapq.heappush(self.ready, (step.rank, step))

    @property
    def wait_s(self) -> float:
        """How long a step that comes now would wait here before it is sent."""
        return len(self.ready) * self.step_s / self.hands

    @property
    def ahead_s(self) -> float:
        """How much work is sent ahead."""
        return min(MOST_AHEAD_S, max(AHEAD_S, self.wait_s / 4))

    def ahead(self, threads: int) -> int:
        """How many steps may be on their way."""
        return min(SLOTS, max(2, 2 * threads, int(self.ahead_s * self.hands / self.step_s)))

    @property
    def linger_us(self) -> int:
        """How long its answers may wait for company: 2 ms, or an eighth of what steps wait here, less than what is sent ahead."""
        return int(1e6 * max(LINGER_S, min(0.4 * self.ahead_s, self.wait_s / 8)))

    def send(self, step: Step, agent: Agent) -> Order:
        """Note that a step is on its way, and give the order for it."""
        step.slot = self.slots.pop()
        step.sent = True
        self.flying[step.number] = step
        agent.flying += 1
        return Order(step.number, step.deadline_ns, agent.number, step.slot, step.load)

    def grounded(self, number: int) -> Step:
        """Take back a step that was not answered."""
        step = self.flying.pop(number)
        self.slots.append(step.slot)
        step.sent = False
        return step

    def land(self, number: int, agents: dict[str, Agent]) -> Step | None:
        """Take a step out of the air; None if it was answered before."""
        step = self.flying.pop(number, None)
        if step is None:
            return None
        self.slots.append(step.slot)
        agent = agents.get(step.agent_id)
        if agent is not None:
            agent.flying -= 1
            if agent.waiting:
                heapq.heappush(agent.worker.ready, heapq.heappop(agent.waiting))
        return step

    def facts(self, pid: int | None) -> WorkerFacts:
        """Give what is known of it."""
        held = sum(len(agent.waiting) for agent in self.agents.values())
        return WorkerFacts(
            self.name,
            pid,
            len(self.agents),
            dict(self.outcomes),
            dict(self.ends),
            self.rss,
            tuple(self.histogram),
            self.busy_s,
            len(self.ready) + len(self.flying) + len(self.suspects) + held,
        )

    def everything(self) -> list[Step]:
        """Give all steps that are not answered, without those that wait for their agent's others."""
        return [*self.flying.values(), *self.suspects, *(step for _, step in self.ready)]


@dataclass(frozen=True, slots=True)
class Limits:
    """When a worker is renewed (0 = never): after so many steps, or when it holds so many bytes."""

    tasks: int = 0
    rss_bytes: int = 0
    threads: int = 1
    init_s: float = 60.0
    """So long may the making of an agent take."""
    batching: bool = True
    """Whether several steps go in one message, ahead of the worker's need."""
