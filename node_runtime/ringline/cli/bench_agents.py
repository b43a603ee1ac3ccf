"""`ringline bench agents`: a world of agents under load, in each executor, measured on this machine.

`ringline.bench` measures; this chooses what, and shows it. The repository's `benchmarks/agents.py` compares with other pools.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringline.cli.console import console, counted, print_json, table
from ringline.cli.shapes import AgentsCellShape, AgentsShape

if TYPE_CHECKING:
    from ringline.bench.study import Plan

TITLES = {
    "quarter": "each agent asks for 25 % of a core",
    "scaled": "all agents together ask for all cores",
    "at once": "each agent is due again at once",
}


class Executor(StrEnum):
    """Where agents live."""

    INLINE = "inline"
    THREAD = "thread"
    PROCESS = "process"
    HYBRID = "hybrid"
    AUTO = "auto"


class Kernel(StrEnum):
    """What a step does."""

    NONE = "none"
    PYTHON = "python"
    NUMPY = "numpy"
    MIXED = "mixed"


class Load(StrEnum):
    """How often an agent is due."""

    QUARTER = "quarter"
    SCALED = "scaled"


def agents(
    *,
    executors: Annotated[
        list[Executor] | None, typer.Option("--executor", "-e", help="May be repeated; without it, all.")
    ] = None,
    counts: Annotated[
        list[int] | None,
        typer.Option(
            "--agents", "-a", metavar="N", min=1, max=1000, help="May be repeated; without it, 1, 10, 50, 150, 200."
        ),
    ] = None,
    kernels: Annotated[
        list[Kernel] | None,
        typer.Option(
            "--kernel",
            "-k",
            help="none: the way to the agent alone; mixed: 70 % numpy, 30 % sqlite, files and a WebSocket. May be repeated.",
        ),
    ] = None,
    loads: Annotated[
        list[Load] | None,
        typer.Option(
            "--load",
            "-l",
            help="quarter: 25 % of a core for each agent; scaled: all cores for all agents. May be repeated.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", min=0.05, max=60, help="Per cell and round.")
    ] = 0.4,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", min=1, max=20, help="Turns of every cell.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="A few cells, once and briefly: shows that it runs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure agents in each executor: steps per second, share of what the cores can do, delay, memory, what a dying agent takes along.

    The step's cost is measured by bare loops on all cores in the same rounds. Without options it takes about six minutes.
    """
    from ringline.bench.study import run

    plan = _plan(executors, counts, kernels, loads, seconds=seconds, rounds=rounds, quick=quick)
    out, began = console(stderr=True), time.monotonic()
    report = run(plan, lambda what: out.print(f"{time.monotonic() - began:4.0f} s  measuring {what} …"))
    show(report, as_json=as_json)


def _plan(
    executors: Sequence[str] | None,
    counts: Sequence[int] | None,
    kernels: Sequence[str] | None,
    loads: Sequence[str] | None,
    *,
    seconds: float,
    rounds: int,
    quick: bool,
) -> Plan:
    """Take what was asked for; for the rest everything, or with `quick` the least."""
    from ringline.bench.study import EXECUTORS, Plan, ours

    chosen: dict[str, Any] = {"agents": (10,), "kernels": ("numpy",), "deaths": ("exit",)} if quick else {}
    chosen |= {"seconds": min(seconds, 0.15), "rounds": 1} if quick else {"seconds": seconds, "rounds": rounds}
    asked = {"agents": counts, "kernels": kernels, "loads": loads}
    chosen |= {
        name: tuple(dict.fromkeys(each if isinstance(each, int) else str(each) for each in values))
        for name, values in asked.items()
        if values
    }
    default = ("thread", "process", "hybrid") if quick else EXECUTORS
    plan = Plan(crowds=ours([str(each) for each in dict.fromkeys(executors or default)]), **chosen)
    return Plan(**{**vars(plan), "memory": plan.agents})


def show(report: dict[str, Any], *, as_json: bool) -> None:
    """Print a report of the study."""
    from ringline.cli.bench import machine

    shape = AgentsShape(
        bench="agents",
        machine=machine(),
        cells=report["cells"],
        memory=report["memory"],
        deaths=report["deaths"],
    )
    if as_json:
        print_json(shape)
        return
    out = console()
    for (kernel, load), cells in _groups(shape["cells"]):
        counts = sorted({cell["agents"] for cell in cells})
        heads = ["executor", *(f"{counted(count, 'agent')}>" for count in counts)]
        rows = [
            (name, *(_cell(cells, name, count) for count in counts))
            for name in dict.fromkeys(each["executor"] for each in cells)
        ]
        out.print(f"kernel {kernel}, {TITLES[load]}: steps/s, share of the ideal, p95 delay")
        out.print(table(heads, rows))
        out.print()
    counts = sorted({held["agents"] for held in shape["memory"]})
    held = {(each["executor"], each["agents"]): f"{each['pss_mb']:.0f} MB" for each in shape["memory"]}
    rows = [(name, *(held[name, count] for count in counts)) for name in dict.fromkeys(name for name, _ in held)]
    out.print(table(["memory (PSS)", *(f"{counted(count, 'agent')}>" for count in counts)], rows))
    out.print()
    deaths = [
        (
            each["executor"],
            each["death"],
            "goes on" if each["survived"] else "ended too",
            each["failed"],
            each["lost"],
            each["anew"],
        )
        for each in shape["deaths"]
    ]
    heads = ["one agent dies", "how", "the application", "others' steps failed>", "others lost>", "others begun anew>"]
    out.print(table(heads, deaths))
    facts = shape["machine"]
    out.print(f"\n{facts['cores']} cores, Linux {facts['kernel']}, Python {facts['python']}")


def _groups(cells: Sequence[AgentsCellShape]) -> Iterator[tuple[tuple[str, str], list[AgentsCellShape]]]:
    """Yield the cells of each kernel and load."""
    for key in dict.fromkeys((cell["kernel"], cell["load"]) for cell in cells):
        yield key, [cell for cell in cells if (cell["kernel"], cell["load"]) == key]


def _cell(cells: Sequence[AgentsCellShape], executor: str, count: int) -> str:
    """Write one cell in a few characters: ``412/s 93 % 12 ms``."""
    cell = next(each for each in cells if (each["executor"], each["agents"]) == (executor, count))
    share = "" if cell["efficiency"] is None else f" {100 * cell['efficiency']:.0f} %"
    delay = "" if cell["p95_delay_ms"] is None else f" {cell['p95_delay_ms']:.3g} ms"
    return f"{cell['steps_per_s']:.0f}/s{share}{delay}"
