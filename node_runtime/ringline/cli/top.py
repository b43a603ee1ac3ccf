"""`ringline top`: live statistics of the sessions on this machine, read from shared memory.

Nothing is asked of the sessions' processes, so it works while their nodes, or even their host, hang.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringline.cli.complete import session_ids
from ringline.cli.console import console, human_bytes, human_seconds, print_json_line, table
from ringline.cli.holders import lock_holders
from ringline.cli.shapes import TopNodeShape, TopSessionShape, TopShape
from ringline.cli.stats import Rates, channel_shape, channel_table, quantile
from ringline.errors import RinglineError, SessionError

if TYPE_CHECKING:
    from rich.console import Group

    from ringline.shm import NodeStats

NAME = "top"
EXAMPLES = (
    "ringline top",
    "ringline top --once --json",
)


def command(
    session: Annotated[
        str | None, typer.Option("--session", "-s", metavar="ID", help="Only this session.", autocompletion=session_ids)
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one reading and end.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", min=0.1, help="Time between readings.")
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per reading, a line each.")] = False,
) -> None:
    """Watch the sessions that run on this machine, until Ctrl-C; works while their nodes hang."""
    from ringline.host.directory import base_directory

    folder = base_directory(os.environ)
    if session is not None and not (folder / session).is_dir():
        raise SessionError(f"there is no session {session!r} in {folder}; `ringline top --once` lists those that run")
    with contextlib.suppress(KeyboardInterrupt):  # the ordinary way out
        if once or as_json:
            for reading in _readings(folder, session, interval, once=once):
                print_json_line(reading) if as_json else console().print(_picture(reading, None))
        else:
            _watch(folder, session, interval)


def _readings(folder: Path, session: str | None, interval: float, *, once: bool) -> Iterator[TopShape]:
    while True:
        yield read(folder, session)
        if once:
            return
        time.sleep(interval)


def read(folder: Path, session: str | None = None) -> TopShape:
    """Read the statistics of every session directory in `folder`, or of one."""
    names = [session] if session else sorted(entry.name for entry in folder.glob("*") if entry.is_dir())
    found = [_session(folder / name) for name in names]
    return TopShape(directory=str(folder), sessions=[shape for shape in found if shape is not None])


def _session(directory: Path) -> TopSessionShape | None:
    from ringline.shm import ArenaView, locks

    try:
        view = ArenaView.open(directory)
    except (RinglineError, OSError):
        return None  # it is being made, or has just ended
    try:
        now, pids = time.monotonic_ns(), lock_holders(directory)
        return TopSessionShape(
            session_id=directory.name,
            directory=str(directory),
            host_alive=locks.host_alive(directory),
            nodes={
                name: _node(stats, now, pids.get(place))
                for place, (name, stats) in enumerate(view.node_stats().items())
            },
            channels={name: channel_shape(stats) for name, stats in view.channel_stats().items()},
        )
    finally:
        view.close()


def _node(stats: NodeStats, now_ns: int, pid: int | None) -> TopNodeShape:
    from ringline.host import procfs

    busy = (now_ns - stats.busy_since_ns) / 1e9 if stats.busy_since_ns else 0.0
    return TopNodeShape(
        epoch=stats.epoch,
        attached=stats.attached,
        pid=pid,
        memory_bytes=procfs.memory(pid).pss if pid is not None else 0,
        busy_seconds=round(max(0.0, busy), 3),
        calls=stats.latency.count,
        p50_seconds=_finite(quantile(stats.latency, 0.5)),
        p99_seconds=_finite(quantile(stats.latency, 0.99)),
        heap_used_bytes=stats.heap_used_bytes,
        heap_bytes=stats.heap_bytes,
    )


def _finite(seconds: float | None) -> float | None:
    return None if seconds is None or math.isinf(seconds) else seconds


def _watch(folder: Path, session: str | None, interval: float) -> None:
    from rich.live import Live

    rates: dict[str, Rates] = {}
    out = console()
    with Live(console=out, screen=out.is_terminal, auto_refresh=False) as live:
        for reading in _readings(folder, session, interval, once=False):
            live.update(_picture(reading, rates), refresh=True)


def _picture(reading: TopShape, rates: dict[str, Rates] | None) -> Group:
    from rich.console import Group

    if not reading["sessions"]:
        return Group(f"no session runs in {reading['directory']}")
    parts: list[object] = []
    for session in reading["sessions"]:
        measured = None  # one reading has no rates
        if rates is not None:
            measured = rates.setdefault(session["session_id"], Rates()).of(session["channels"])
        host = "" if session["host_alive"] else " (its host is dead)"
        rows = [_row(name, node) for name, node in session["nodes"].items()]
        headings = ("node", "pid>", "memory>", "epoch>", "busy for>", "calls>", "p50 <>", "p99 <>", "heap>", "of>")
        parts.append(table(headings, rows, title=f"session {session['session_id']}{host}"))
        parts.append(channel_table(session["channels"], measured))
    return Group(*parts)  # type: ignore[arg-type]


def _row(name: str, node: TopNodeShape) -> tuple[str, ...]:
    return (
        name,
        str(node["pid"] or "-") if node["attached"] else "gone",
        human_bytes(node["memory_bytes"]) if node["memory_bytes"] else "-",
        str(node["epoch"]),
        human_seconds(node["busy_seconds"]) if node["busy_seconds"] else "idle",
        str(node["calls"]),
        *("-" if seconds is None else human_seconds(seconds) for seconds in (node["p50_seconds"], node["p99_seconds"])),
        human_bytes(node["heap_used_bytes"]),
        human_bytes(node["heap_bytes"]),
    )
