"""`ringline bench`: measure this machine: a hop's latency, transfer by size, spawning, one node type alone, or many agents.

These are quick looks with Ringline itself; the repository's `benchmarks/` compares it with others. Figures depend on the
machine, so they are printed with it.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ringline.cli.bench_agents import agents
from ringline.cli.complete import node_types
from ringline.cli.console import console, counted, epilog, human_bytes, human_seconds, print_json, table
from ringline.cli.shapes import BenchRowShape, BenchShape, TimesShape

if TYPE_CHECKING:
    from ringline.cli.manifests import Overrides

app = typer.Typer(
    help="Measure this machine; compare figures only with others of the same machine.", no_args_is_help=True
)

SIZES: Final = (960, 192_000, 921_600, 6_220_800, 10_485_760)
"""Bytes: 10 ms of 48 kHz 16-bit sound, 1 s of it twice, a 480p picture, a 1080p picture, 10 MiB."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
CountOption = Annotated[int, typer.Option("--count", "-n", metavar="N", min=1, help="Measurements.")]


@app.callback()
def root() -> None:
    """Measure this machine; compare figures only with others of the same machine."""


@app.command("latency", epilog=epilog("ringline bench latency --hops 3 --json"))
def latency(
    hops: Annotated[int, typer.Option("--hops", metavar="N", min=1, max=16, help="Nodes in the chain.")] = 1,
    size: Annotated[int, typer.Option("--bytes", metavar="N", min=1, help="Payload.")] = SIZES[0],
    count: CountOption = 2000,
    as_json: JsonOption = False,
) -> None:
    """Measure one message at a time through a chain of nodes; one hop is the whole way divided by its channels."""
    from ringline.cli.measure import chain_seconds, run

    seconds = run(chain_seconds(hops, size, count))
    rows = [
        _row(f"through {counted(hops, 'node')}", size, seconds),
        _row("one hop", size, [s / (hops + 1) for s in seconds]),
    ]
    _show("latency", rows, as_json=as_json)


@app.command("transfer", epilog=epilog("ringline bench transfer --bytes 10485760"))
def transfer(
    sizes: Annotated[
        list[int] | None, typer.Option("--bytes", metavar="N", min=1, help="Payload; may be repeated.")
    ] = None,
    count: CountOption = 200,
    as_json: JsonOption = False,
) -> None:
    """Measure the transfer of a message by its size: copy into shared memory, hand over, map on the other side."""
    from ringline.cli.measure import chain_seconds, run

    rows = []
    for size in sizes or SIZES:
        seconds = run(chain_seconds(1, size, count))
        rows.append(_row(f"{human_bytes(size)} in, through a node, out", size, seconds))
    _show("transfer", rows, as_json=as_json)


@app.command("spawn", epilog=epilog("ringline bench spawn --nodes 4 --count 3"))
def spawn(
    nodes: Annotated[int, typer.Option("--nodes", metavar="N", min=1, max=16, help="Nodes of the session.")] = 4,
    count: CountOption = 5,
    as_json: JsonOption = False,
) -> None:
    """Measure how long a session takes from nothing to all nodes ready, and to nothing again."""
    from ringline.cli.measure import run, spawn_seconds

    up, down = run(spawn_seconds(nodes, count))
    per_node = [seconds / nodes for seconds in up]
    rows = [
        _row(f"{counted(nodes, 'node')} ready", 0, up),
        _row("per node", 0, per_node),
        _row("ended and cleaned up", 0, down),
    ]
    _show("spawn", rows, as_json=as_json)


@app.command("node", epilog=epilog("ringline bench node resample --set rate=16000 --input speech.wav"))
def node(
    node_type: Annotated[
        str, typer.Argument(metavar="TYPE", help="A node type, or module:Class.", autocompletion=node_types)
    ],
    *,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Its config; may be repeated.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--input", "-i", metavar="FILE", help="Messages to feed, again and again.")
    ] = None,
    port: Annotated[str | None, typer.Option("--port", metavar="NAME", help="The input port to feed.")] = None,
    count: CountOption = 1000,
    paths: Annotated[
        list[Path] | None, typer.Option("--path", metavar="FOLDER", help="Also look for node types here.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Profile one node type alone, in this process: initialize, then each process() call."""
    from ringline.cli.measure import node_seconds, run
    from ringline.cli.types import find_type

    name, entry = find_type(node_type, paths or [])
    config = _config(settings)
    start, seconds, size = run(node_seconds(name, entry, config, file=file, port=port, count=count, paths=paths or []))
    rows = [_row("initialize and warmup", 0, [start]), _row("process", size, seconds)]
    _show("node", rows, as_json=as_json)


app.command(
    "agents", epilog=epilog("ringline bench agents --quick", "ringline bench agents -e hybrid -a 150 -k numpy --json")
)(agents)


def _config(settings: Sequence[str] | None) -> dict[str, object]:
    from ringline.cli.manifests import parse_overrides

    overrides: Overrides = parse_overrides([f"node.config.{setting}" for setting in settings or ()])
    config: dict[str, object] = {}
    for keys, value in overrides.config.get("node", ()):
        config[".".join(keys)] = value
    return config


def _row(name: str, size: int, seconds: Sequence[float]) -> BenchRowShape:
    return BenchRowShape(name=name, bytes=size, times=times(seconds))


def times(seconds: Sequence[float]) -> TimesShape:
    """Return the percentiles of measured seconds (nearest rank)."""
    ordered = sorted(seconds)
    rank = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99)]
    return TimesShape(count=len(ordered), p50=rank[0], p99=rank[1], max=ordered[-1])


def machine() -> dict[str, str | int]:
    """Return what figures depend on."""
    from ringline.cli.machine import look

    found = look()
    python = ".".join(map(str, found.python))
    return {"cores": found.cores, "kernel": found.kernel, "python": python, "cpu": platform.machine()}


def _show(bench: str, rows: list[BenchRowShape], *, as_json: bool) -> None:
    shape = BenchShape(bench=bench, machine=machine(), rows=rows)
    if as_json:
        print_json(shape)
        return
    cells = [
        (row["name"], row["times"]["count"], *(human_seconds(row["times"][each]) for each in ("p50", "p99", "max")))
        for row in rows
    ]
    out = console()
    out.print(table(("what", "times>", "p50>", "p99>", "max>"), cells))
    facts = shape["machine"]
    out.print(f"\n{facts['cores']} cores, Linux {facts['kernel']}, Python {facts['python']}")
