"""Sessions of misbehaving nodes, with settings so short that a fault is acted upon within a second or two."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import psutil

from ringline import Pipeline, RuntimeConfig, Session
from tests.integration.sessions import Lines, chain, session_id

FOLDER = Path(__file__).parent


def short(**changes: Any) -> RuntimeConfig:
    values: dict[str, Any] = {
        "extra_paths": (str(FOLDER / "nodes"),),
        "max_message_size": 1 << 20,
        "channel_capacity": 16,
        "init_timeout_secs": 60.0,
        "cleanup_grace_period_secs": 2.0,
    }
    return RuntimeConfig(**(values | changes))


WATCHFUL: dict[str, Any] = {"health_check_interval": 0.2, "health_check_timeout": 1.0}
"""For tests of nodes that do not answer. All others keep the defaults: a node may be slow where many tests run at once."""


def make(*types: str, configs: dict[str, dict[str, Any]] | None = None, **changes: Any) -> Session:
    """A session of nodes in a row, named a, b, …"""
    return of(chain(*types, **(configs or {})), **changes)


def of(pipeline: Pipeline, **changes: Any) -> Session:
    return Session(session_id(), pipeline, config=short(**changes), log_callback=Lines())


def printed(session: Session, node: str | None = None) -> str:
    lines = session._log
    assert isinstance(lines, Lines)
    return lines.text(node)


async def started(session: Session) -> Session:
    await session.initialize()
    await session.start()
    return session


async def pids_of(session: Session) -> dict[str, int]:
    nodes = (await session.get_status()).nodes
    return {name: node.pid for name, node in nodes.items() if node.pid is not None}


def zygote_of(session: Session) -> int:
    """The process that parents the session's nodes: the child of ours with the session's directory in its command line."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            command = child.cmdline()
            if "zygote" in command and str(session.directory) in command:
                return child.pid
    raise AssertionError("the session has no zygote")


async def idle(session: Session, node: str) -> None:
    """Wait until the node's beat word says that it waits for input."""
    engine = session._engine
    assert engine is not None
    await until(lambda: engine.node_stats()[node].busy_since_ns == 0)


async def gone(*pids: int) -> None:
    """Wait until none of these processes exists (zombies do not count as existing)."""
    while any(exists(pid) for pid in pids):
        await asyncio.sleep(0.01)


def exists(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


async def until(question: Any) -> None:
    """Wait until a question is answered with yes; the test's watchdog is the only limit."""
    while not question():
        await asyncio.sleep(0.01)


def nothing_left(session: Session) -> None:
    """The session's directory is gone and no descriptor of ours points into it; the guard in conftest checks the rest."""
    assert not session.directory.exists()
    inside = str(session.directory)
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            assert not str(descriptor.readlink()).startswith(inside)
        except FileNotFoundError:
            continue
    assert inside not in Path("/proc/self/maps").read_text()
    assert not [t for t in asyncio.all_tasks() if t.get_name().startswith(("ringline", "spawn_"))]
    assert os.getpid()
