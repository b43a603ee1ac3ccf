"""The measurement of `ringline bench agents`: which cells, in which order, and what is added up.

All crowds of a block (one kernel, one number of agents) live at once and take turns in rounds, so that a noisy moment hits each of
them. What a step costs is measured before and after every round by bare loops on all cores, over as many agents: the ideal that
efficiency is a share of.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from ringline.bench.hosts import Host, HostGoneError, Service, service

EXECUTORS: Final = ("inline", "thread", "process", "hybrid", "auto")
KERNELS: Final = ("none", "python", "numpy", "mixed")
LOADS: Final = ("quarter", "scaled")
AGENTS: Final = (1, 10, 30, 50, 150, 200)
DEATHS: Final = ("exit", "segfault")
MORTALS: Final = 20
"""Agents of a crowd of which one dies."""
QUARTER: Final = 0.25
"""Share of one core that an agent asks for in the load `quarter`, whatever the machine has."""
BARE: Final = "ringline.bench.crowds:Bare"


def ours(executors: Sequence[str] = EXECUTORS) -> dict[str, str]:
    """Name the pool's executors as crowds."""
    return {executor: f"ringline.bench.crowds:Pool:{executor}" for executor in executors}


@dataclass(frozen=True)
class Plan:
    """What is measured: `crowds` by name; `seconds` per cell and round."""

    crowds: Mapping[str, str] = field(default_factory=ours)
    agents: Sequence[int] = AGENTS
    kernels: Sequence[str] = KERNELS
    loads: Sequence[str] = LOADS
    deaths: Sequence[str] = DEATHS
    memory: Sequence[int] = AGENTS
    seconds: float = 0.4
    rounds: int = 2

    def blocks(self) -> Iterator[tuple[str, int]]:
        """Yield kernel and agents; the kernel that computes nothing is asked with the fewest and the most agents only."""
        for kernel in self.kernels:
            counts = sorted({self.agents[0], self.agents[-1]}) if kernel == "none" else self.agents
            yield from ((kernel, count) for count in counts)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a bare step costs now: seconds on the processor and by the clock, all cores being busy with such steps.

    `service_s`: what the service that agents ask takes of the same processors for each of them.
    """

    cpu_s: float
    wall_s: float
    cores: int
    service_s: float = 0.0

    @property
    def core_s(self) -> float:
        """Seconds of one of the cores that a step takes away, whoever uses them."""
        return self.cpu_s + self.service_s

    def period_s(self, load: str, agents: int) -> float:
        """How often an agent is due: for a quarter of a core each, or so that all agents together fill the cores."""
        if load == "quarter":
            return self.cpu_s / QUARTER
        return max(agents * self.core_s / self.cores, self.wall_s)

    def ideal(self, load: str, agents: int) -> float:
        """Give the steps per second that are asked for, as far as the cores can do them."""
        return min(self.cores / self.core_s, agents / self.period_s(load, agents))

    def between(self, later: Cost) -> Cost:
        """Give the mean of this one, before a round, and of one after it."""
        pairs = ((self.cpu_s, later.cpu_s), (self.wall_s, later.wall_s), (self.service_s, later.service_s))
        cpu_s, wall_s, service_s = (sum(pair) / 2 for pair in pairs)
        return Cost(cpu_s, wall_s, self.cores, service_s)


@dataclass(frozen=True, slots=True)
class Run:
    """What a crowd said of one run, and the processor time of all its processes meanwhile."""

    seen: dict[str, Any]
    spent_s: float


@dataclass
class Cell:
    """One crowd in one load: a value per round."""

    crowd: str
    kernel: str
    load: str
    agents: int
    lives: str
    rates: list[float] = field(default_factory=list)
    ideals: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    useful: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)

    def add(self, run: Run, cost: Cost | None) -> None:
        """Add what was seen in one round, whose bare steps cost so much."""
        seen = run.seen
        self.rates.append(seen["steps"] / seen["seconds"])
        self.ideals.append(cost.ideal(self.load, self.agents) if cost is not None else 0.0)
        self.cpu.append(run.spent_s / seen["lasted"])
        if cost is not None and cost.wall_s:
            self.waits.append(1 - cost.cpu_s / cost.wall_s)
        if cost is not None and run.spent_s:
            self.useful.append(seen["answers"] * cost.cpu_s / run.spent_s)
        self.delays += seen["delays"]

    def as_json(self) -> dict[str, Any]:
        """Give the row of the report."""
        shares = [rate / ideal for rate, ideal in zip(self.rates, self.ideals, strict=True) if ideal]
        return {
            "executor": self.crowd,
            "lives": self.lives,
            "kernel": self.kernel,
            "load": self.load,
            "agents": self.agents,
            "steps_per_s": round(median(self.rates), 2),
            "rounds": [round(rate, 2) for rate in self.rates],
            "ideal_per_s": round(median(self.ideals), 2),
            "efficiency": round(median(shares), 4) if shares else None,
            "cpu_percent": round(100 * median(self.cpu), 1),
            "useful": round(median(self.useful), 4) if self.useful else None,
            "waits": round(median(self.waits), 4) if self.waits else None,
            "p50_delay_ms": _milliseconds(self.delays, 0.5),
            "p95_delay_ms": _milliseconds(self.delays, 0.95),
        }


def _milliseconds(delays: Sequence[float], share: float) -> float | None:
    ordered = sorted(delays)
    return round(1e3 * ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3) if ordered else None


def run(plan: Plan, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure everything in the plan; `say` is told what is measured now."""
    cells: list[Cell] = []
    memory: list[dict[str, Any]] = []
    deaths: list[dict[str, Any]] = []
    with service() as asked:
        for kernel, agents in plan.blocks():
            say(f"{kernel}, {agents} agents")
            cells += block(plan, kernel, agents, asked)
    for agents in plan.memory:
        say(f"memory, {agents} agents")
        memory += [held(name, spec, agents) for name, spec in plan.crowds.items()]
    for death in plan.deaths:
        say(f"an agent that dies of {death}")
        deaths += [died(name, spec, death) for name, spec in plan.crowds.items()]
    return {"cells": [cell.as_json() for cell in cells], "memory": memory, "deaths": deaths}


def block(plan: Plan, kernel: str, agents: int, asked: Service) -> list[Cell]:
    """Measure all crowds with one kernel and one number of agents."""
    cores = len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        hosts = {name: stack.enter_context(Host(spec)) for name, spec in plan.crowds.items()}
        bare = [stack.enter_context(Host(BARE)) for _ in range(cores)] if kernel != "none" else []
        each = share(agents, cores)
        for host in [*bare, *hosts.values()]:
            arguments = {"folder": host.folder, "url": asked.url} if kernel == "mixed" else {}
            host.tell("settle", agents=each if host in bare else agents, kernel=kernel, arguments=arguments)
        for host in bare:
            host.answer()
        lives = {name: str(host.answer()["lives"]) for name, host in hosts.items()}
        loads = plan.loads if bare else ("at once",)
        cells = {(load, name): Cell(name, kernel, load, agents, lives[name]) for load in loads for name in plan.crowds}
        cost = cost_of(bare, each, plan.seconds, asked) if bare else None
        for turn in range(plan.rounds):
            names = list(hosts)
            runs = [
                (cells[load, name], measure(hosts[name], cells[load, name], cost, plan.seconds))
                for name in names[turn % len(names) :] + names[: turn % len(names)]
                for load in loads
            ]
            after = cost_of(bare, each, plan.seconds, asked) if bare else None
            for cell, seen in runs:
                cell.add(seen, cost.between(after) if cost is not None and after is not None else None)
            cost = after
        for host in [*bare, *hosts.values()]:
            host.dismiss()  # all at once: ending takes as long as starting
    return list(cells.values())


def share(agents: int, cores: int) -> int:
    """Say how many agents a bare loop has: with one only, its caches would hold what no crowd's can."""
    return -(-agents // cores)


def cost_of(bare: Sequence[Host], agents: int, seconds: float, asked: Service) -> Cost:
    """Measure bare steps, of `agents` in each loop, on all cores at once."""
    spent = asked.cpu_seconds()
    for each in bare:
        each.tell("run", agents=agents, period_s=0.0, seconds=seconds)
    answers = [each.answer() for each in bare]
    spent = asked.cpu_seconds() - spent
    wall_s = sum(answer["seconds"] / max(1, answer["steps"]) for answer in answers) / len(answers)
    share = sum(answer["cpu_share"] for answer in answers) / len(answers)
    steps = sum(answer["answers"] for answer in answers)
    return Cost(wall_s * min(1.0, share), wall_s, len(bare), spent / max(1, steps))


def measure(host: Host, cell: Cell, cost: Cost | None, seconds: float) -> Run:
    """Let a crowd run once, with the load that follows from the cost of a step before its round."""
    period_s = cost.period_s(cell.load, cell.agents) if cost is not None else 0.0
    spent = host.cpu_seconds()
    seen = host.ask("run", agents=cell.agents, period_s=period_s, seconds=seconds)
    return Run(seen, host.cpu_seconds() - spent)


def held(name: str, spec: str, agents: int) -> dict[str, Any]:
    """Measure the memory of a crowd, alone on the machine, after a step of each of its agents."""
    with Host(spec) as host:
        host.ask("settle", agents=agents, kernel="numpy", arguments={})
        host.ask("run", agents=agents, period_s=0.0, seconds=0.05)
        pss, rss, processes = host.memory()
    sizes = {"pss_mb": round(pss / 1e6, 2), "rss_mb": round(rss / 1e6, 2)}
    return {"executor": name, "agents": agents, **sizes, "processes": processes}


def died(name: str, spec: str, death: str) -> dict[str, Any]:
    """Let one agent of a crowd die, and count what became of the others; with the application all are lost."""
    others = MORTALS - 1
    with Host(spec) as host:
        host.ask("settle", agents=MORTALS, kernel="mortal", arguments={})
        try:
            seen = host.ask("kill", agents=MORTALS, death=death)
            survived = True
        except HostGoneError:
            seen = {"failed": others, "lost": others, "anew": 0}
            survived = False
    return {"executor": name, "death": death, "others": others, "survived": survived, **seen}
