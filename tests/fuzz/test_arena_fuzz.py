"""Poisoned arenas: typed errors or messages, never a crash.

A fuzzer crashes in a process of its own, which is then reported with its seed and its last mutation.
``RINGLINE_FUZZ_MUTATIONS=1000000 pytest tests/fuzz`` runs as many with fresh seeds; the test command runs a few thousand
with fixed ones.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ringline

ROOT = Path(__file__).parents[2]
WANTED = int(os.environ.get("RINGLINE_FUZZ_MUTATIONS", "0"))
COUNT = WANTED or 2000
LIMIT_S = 60 + COUNT // 100


@pytest.fixture
def directory(shm_root: Path) -> Iterator[Path]:
    path = shm_root / "fuzz"
    path.mkdir(mode=0o700)
    yield path
    shutil.rmtree(path)


def seed_of(target: str) -> int:
    seed = random.SystemRandom().getrandbits(32) if WANTED else len(target)
    print(f"target {target}, seed {seed}, {COUNT} mutations")
    return seed


def fuzz(directory: Path, target: str) -> dict[str, int]:
    """Run one target; a death by a signal fails with its name and the mutation before it."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz.arena_fuzzer", str(directory), target]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(ringline.__file__).parents[1]), str(ROOT)])}
    done = subprocess.run(
        [*command, str(seed_of(target)), str(COUNT)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    last = (directory / "last").read_text().strip() if (directory / "last").exists() else "none"
    name = signal.Signals(-done.returncode).name if done.returncode < 0 else str(done.returncode)
    assert done.returncode == 0, f"{target} died of {name}; last mutation {last}\n{done.stderr}"
    outcomes: dict[str, int] = json.loads(done.stdout)
    print(outcomes)
    return outcomes


@pytest.mark.timeout(LIMIT_S + 30)
def test_a_mutated_header_is_refused_or_harmless(directory: Path) -> None:
    outcomes = fuzz(directory, "attach")
    assert outcomes["ArenaError"] > COUNT // 10
    assert outcomes["accepted"] > COUNT // 50
    assert sum(outcomes.values()) == COUNT


@pytest.mark.timeout(LIMIT_S + 30)
def test_a_neighbour_that_writes_anything_meets_typed_errors_or_messages(directory: Path) -> None:
    outcomes = fuzz(directory, "next")
    assert outcomes["messages"] > COUNT // 4
    assert outcomes["RingCorruptError"] > 10
    assert set(outcomes) <= {
        "messages",
        "RingCorruptError",
        "LeaseQuotaError",
        "ArenaError",
        "ChannelFullError",
        "Fenced",
    }


@pytest.mark.timeout(LIMIT_S + 30)
def test_a_host_reclaims_whatever_a_dead_node_left(directory: Path) -> None:
    outcomes = fuzz(directory, "reclaim")
    assert outcomes["reclaimed True"] > COUNT // 2
    assert sum(outcomes.values()) == COUNT


def test_a_crash_is_seen_and_reported(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard is tried on a process that does die of a signal."""
    (directory / "last").write_text("17: ff")
    monkeypatch.setattr(subprocess, "run", died_of_a_signal)
    with pytest.raises(AssertionError, match="attach died of SIGSEGV; last mutation 17: ff"):
        fuzz(directory, "attach")


def died_of_a_signal(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(command, -signal.SIGSEGV, "", "")
