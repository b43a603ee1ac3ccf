"""What holds for every test: its own place for shared memory, and nothing left behind.

A test that leaves a process, a thread, a socket or a session directory makes a later one fail somewhere else, on another
machine, on another day; so the guard below fails the test that did it. A stuck test is ended by pytest-timeout.

A run starts Python some hundred times and imports everything in each worker: what can be compiled and collected once is.
"""

from __future__ import annotations

import compileall
import gc
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.helpers.leaks import Snapshot
from tests.helpers.place import place
from tests.helpers.tree import ROOT

# A slow machine is no failure: a stuck example is ended by pytest-timeout like any test.
hypothesis.settings.register_profile("ringline", deadline=None)
hypothesis.settings.load_profile("ringline")

GRACE_S = 10.0
"""How long a process or a socket that is on its way out may take: kernels and libraries close some things later."""


STARTED = ("node_runtime/ringline", "operator/ringline_operator", "benchmarks")
"""What the processes that tests start import."""


def pytest_configure(config: pytest.Config) -> None:
    """Compile what will be started, before there are workers, and let it be interrupted.

    Where Python may write no bytecode (PYTHONDONTWRITEBYTECODE is usual in containers) each start would compile it again,
    and that takes as long as all else that a command does. A shell's script has what it starts in the background ignore
    Ctrl-C, and all processes that the tests start would inherit it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        for folder in STARTED:
            compileall.compile_dir(ROOT / folder, quiet=2)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep pytest's own bytecode of the tests for the next run, and look for garbage in nothing of what was imported."""
    unwritten, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    gc.disable()
    try:
        return (yield)
    finally:
        sys.dont_write_bytecode = unwritten
        gc.enable()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)  # tests that parse the whole repository spent most of their time on it


@pytest.fixture(scope="session", autouse=True)
def shm_root() -> Iterator[Path]:
    """Return the folder of this run's session directories, so that runs side by side do not meet."""
    with place(Path("/dev/shm")) as root, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RINGLINE_SHM_DIR", str(root))
        yield root


@pytest.fixture(autouse=True)
def leaves_nothing_behind(shm_root: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves a child process, a thread, a socket, or an entry in shared memory."""
    before = Snapshot.take(shm_root)
    yield
    if not shm_root.exists():
        shm_root.mkdir(mode=0o700)
        pytest.fail(
            f"{shm_root}, where all tests of this process have their shared memory, went meanwhile", pytrace=False
        )
    deadline = time.monotonic() + GRACE_S
    left = Snapshot.take(shm_root).beyond(before)
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = Snapshot.take(shm_root).beyond(before)
    if left:
        remove(left, shm_root, before)
        pytest.fail(f"{request.node.name} left behind: " + "; ".join(left), pytrace=False)


def remove(left: list[str], shm_root: Path, before: Snapshot) -> None:
    """Clear what was left, so that the next test is judged for what it does itself."""
    assert left
    Snapshot.take(shm_root).end_children(before)
    for entry in Snapshot.take(shm_root).shm - before.shm:
        shutil.rmtree(shm_root / entry, ignore_errors=True)
    # What is still held complains when it is collected: now, so that this test is blamed and no later one.
    gc.collect()
