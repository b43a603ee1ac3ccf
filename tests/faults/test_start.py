"""Nodes that never become ready: the right error, with its documented text, and nothing left."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from ringline import (
    InitTimeout,
    NodeConfigError,
    NodeInitError,
    NodeLoadError,
    Pipeline,
    ProcessCrashed,
    ProcessSpawnError,
    RinglineError,
    Session,
    UnknownNodeTypeError,
)
from ringline.host.status import Progress
from tests.faults.scenes import FOLDER, make, nothing_left, of, printed


async def failure(session: Session) -> RinglineError:
    """What initialize raises; afterwards nothing is left."""
    with pytest.raises(RinglineError) as caught:
        await session.initialize()
    assert (await session.get_status()).state == "closed"
    return caught.value


async def test_an_unknown_type_names_the_nearest_ones() -> None:
    session = make("does_as_tolt")
    error = await failure(session)
    assert isinstance(error, UnknownNodeTypeError)
    assert "does_as_told" in str(error)
    nothing_left(session)


async def test_a_module_that_fails_to_import_is_named_with_its_last_line() -> None:
    session = make("fails_to_import", extra_paths=(str(FOLDER / "broken"),))
    error = await failure(session)
    assert isinstance(error, NodeLoadError)
    assert "ModuleNotFoundError: No module named 'a_module_that_nobody_has'" in str(error)
    assert "fails_to_import.py" in str(error)
    nothing_left(session)


@pytest.mark.parametrize(
    ("python", "text"),
    [
        ({"executable": "python-of-nowhere"}, "Python executable not found: 'python-of-nowhere'"),
        ({"venv_path": "/nowhere/venv"}, "Python executable not found: '/nowhere/venv/bin/python'"),
    ],
)
async def test_a_missing_interpreter_is_named_before_anything_starts(python: dict[str, str], text: str) -> None:
    session = of(Pipeline().add_node("does_as_told", "a", python=python))
    error = await failure(session)
    assert isinstance(error, ProcessSpawnError)
    assert text in str(error)
    assert not session.directory.exists()


async def test_an_interpreter_without_ringline_says_so_with_its_last_lines(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    session = of(Pipeline().add_node("does_as_told", "a", python={"venv_path": str(tmp_path)}))
    error = await failure(session)
    assert isinstance(error, NodeInitError)
    assert "No module named" in str(error)
    nothing_left(session)


async def test_one_that_never_becomes_ready_is_timed_out() -> None:
    session = make("does_as_told", "never_ready", init_timeout_secs=1.0)
    error = await failure(session)
    assert isinstance(error, InitTimeout)
    assert str(error).startswith("Node 'b' failed to initialize within 1s (last progress: loading 25%")
    assert "waiting for a model that never comes" in str(error)
    assert "still loading" in printed(session, "b")
    assert error.node_id == "b"
    nothing_left(session)


async def test_one_that_holds_the_gil_while_it_starts_is_timed_out_by_the_host() -> None:
    session = make("never_ready_with_the_gil", init_timeout_secs=0.5)
    error = await failure(session)
    assert isinstance(error, InitTimeout)
    nothing_left(session)


@pytest.mark.parametrize("code", [0, 5])
async def test_one_that_exits_while_it_starts_is_named_with_its_code(code: int) -> None:
    session = make("exits_in_initialize", configs={"a": {"code": code}})
    error = await failure(session)
    assert isinstance(error, NodeInitError)
    assert f"Node 'a' exited with code {code} before it was ready" in str(error)
    assert "nothing to do here" in str(error)
    assert error.exit_code == code
    nothing_left(session)


async def test_an_exception_in_initialize_is_told_with_file_and_line() -> None:
    shown: list[Progress] = []
    session = make("does_as_told", "raises_in_initialize")
    with pytest.raises(NodeInitError) as caught:
        await session.initialize(shown.append)
    assert "Node 'b' failed to initialize: FileNotFoundError: model.bin is missing" in str(caught.value)
    assert "misbehaving.py, line" in str(caught.value)
    assert "failed" in [progress.status for progress in shown if progress.node_id == "b"]
    nothing_left(session)


async def test_one_that_is_killed_while_it_starts_is_a_crash() -> None:
    session = make("killed_in_initialize", "does_as_told")
    error = await failure(session)
    assert isinstance(error, ProcessCrashed)
    assert "Node 'a' exited with code 137" in str(error)
    assert "loading 40%" in str(error)
    nothing_left(session)


@pytest.mark.parametrize("victim", ["a", "b"])
async def test_any_node_may_be_killed_from_outside_while_it_starts(victim: str) -> None:
    session = make("never_ready", "never_ready")
    starting = asyncio.create_task(session.initialize())
    while (node := (await session.get_status()).nodes.get(victim)) is None or node.state != "loading":
        await asyncio.sleep(0.005)
    assert node.pid is not None
    os.kill(node.pid, signal.SIGKILL)
    with pytest.raises(ProcessCrashed, match=f"Node '{victim}' exited with code 137"):
        await starting
    nothing_left(session)


async def test_a_class_that_cannot_be_made_is_told() -> None:
    error = await failure(make("refuses_config"))
    assert isinstance(error, NodeInitError | NodeConfigError)
    assert "device" in str(error)


async def test_a_cancelled_start_leaves_nothing() -> None:
    for moment in (0.0, 0.05, 0.3, 0.8):
        session = make("never_ready", "does_as_told")
        starting = asyncio.create_task(session.initialize())
        await asyncio.sleep(moment)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        if session._directory is not None:
            nothing_left(session)
