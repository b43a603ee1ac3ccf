"""Run the benchmarks: ``python -m benchmarks [NAME…] [--json FILE] [--write PAGE] [--quick]`` from the top of the repository.

Exit code 0 if everything ran, whether or not the bars were met (the figures say that); 1 if a benchmark broke; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import machine, page
from benchmarks.rows import SCHEMA, Row, show

BENCHMARKS = {
    "limits": "what the machine allows: memcpy, futex wake, page fault",
    "transfer": "transfer between two processes, by size, beside peers",
    "stream": "messages one way as fast as they go, beside peers",
    "relay": "10 MiB through a chain of nodes, and to several readers",
    "backpressure": "a sender blocked on a full channel, beside peers",
    "waiting": "CPU of idle and of paced nodes, beside peers",
    "cold": "the first message after the start, beside peers",
    "recovery": "the blocks of a reader that was killed",
    "cost": "a node's own cost for each message",
    "spawn": "a node from spawn to ready",
    "hop": "added latency per node for 10 ms audio blocks",
    "speech": "end of speech to the first audio of the answer",
    "interruption": "flush to silence at the output",
    "death": "a node killed to reported, and to the session's end",
    "memory": "memory of an idle node",
    "agents": "agents in pools of threads and processes, beside peers",
}

GROUPS = {
    "peers": (
        "limits",
        "transfer",
        "stream",
        "relay",
        "backpressure",
        "waiting",
        "cold",
        "recovery",
        "cost",
        "hop",
    )
}
"""Names for several: `peers` is the data plane beside other ways to exchange media, the content of docs/performance.md."""


def chosen(names: list[str]) -> list[str]:
    """Put what a group stands for in its place; all if nothing was named."""
    return [one for name in names or BENCHMARKS for one in GROUPS.get(name, (name,))]


def run(names: list[str], *, quick: bool, console: Console) -> dict[str, Any]:
    """Run the named benchmarks one after the other and return the report."""
    began = time.monotonic()
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": machine.facts(),
        "benchmarks": [],
    }
    for name in names:
        report["benchmarks"].append(_one(name, quick=quick, console=console))
    report["seconds"] = round(time.monotonic() - began, 1)
    return report


def _one(name: str, *, quick: bool, console: Console) -> dict[str, Any]:
    began = time.monotonic()
    rows: list[Row] = []
    error = None
    console.print(f"[dim]{name}: measuring {BENCHMARKS[name]} …[/]")
    try:
        rows.extend(importlib.import_module(f"benchmarks.{name}").measure(quick=quick))
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
        console.print(traceback.format_exc(), markup=False, highlight=False)
    show(f"{name}: {BENCHMARKS[name]}", rows, console)
    return {
        "name": name,
        "title": BENCHMARKS[name],
        "seconds": round(time.monotonic() - began, 1),
        "error": error,
        "rows": [row.as_json() for row in rows],
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one or more of: {', '.join((*BENCHMARKS, *GROUPS))} (default: all)"
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write the report there as JSON ('-' for standard output)"
    )
    parser.add_argument("--quick", action="store_true", help="few repetitions: shows that it runs, not how fast")
    parser.add_argument(
        "--write",
        metavar="PAGE",
        type=Path,
        help="write tables, charts and verdicts there as Markdown, with images beside",
    )
    parser.add_argument(
        "--read", metavar="FILE", type=Path, help="measure nothing: take an earlier report (--json) for --write"
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in chosen(options.names) if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; choose from {', '.join((*BENCHMARKS, *GROUPS))}")
    if options.read is not None:
        if options.write is None:
            parser.error("--read FILE is for --write PAGE: say where the page is to be written")
        page.write(json.loads(options.read.read_text(encoding="utf-8")), options.write)
        return 0
    # Nodes are killed on purpose here, which the host logs as errors.
    logging.getLogger("ringline").setLevel(logging.CRITICAL)
    to_stdout = options.json is not None and str(options.json) == "-"
    console = Console(stderr=to_stdout)
    if not console.is_terminal:
        console.width = 160
    report = run(chosen(options.names), quick=options.quick, console=console)
    if options.json is not None:
        text = json.dumps(report, indent=1)
        if to_stdout:
            print(text)
        else:
            options.json.write_text(text + "\n", encoding="utf-8")
    if options.write is not None:
        page.write(report, options.write)
    return 1 if any(item["error"] for item in report["benchmarks"]) else 0


if __name__ == "__main__":
    sys.exit(main())
