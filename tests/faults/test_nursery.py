"""The nursery of the kill scene: its children die where they are told to, each for itself, and none outlives it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.kills import SETTINGS, KillScene
from tests.faults.nursery import Child


@pytest.fixture
def scene(shm_root: Path) -> Iterator[KillScene]:
    made = KillScene(shm_root / "nursery", SETTINGS["block"])
    yield made
    made.close()
    shutil.rmtree(made.directory, ignore_errors=True)


def child(scene: KillScene, role: str, failpoint: str = "") -> Child:
    scene.spawn(role, failpoint)
    made = scene.processes[role]
    assert isinstance(made, Child)
    return made


def attached(scene: KillScene, role: str) -> bool:
    return scene.host.node_stats()[role].attached


def test_a_child_dies_at_its_own_failpoint_and_its_neighbour_lives(scene: KillScene) -> None:
    writer, reader = child(scene, "write", "C4:2"), child(scene, "left")
    assert writer.wait() == -signal.SIGKILL
    assert (scene.moved()["c0"], scene.unaccounted()["c0"]) == (1, 1)
    while not attached(scene, "left"):
        assert reader.poll() is None
    reader.kill()
    assert (reader.wait(), reader.poll()) == (-signal.SIGKILL, -signal.SIGKILL)


def test_a_failpoint_is_not_inherited_by_the_next_child(scene: KillScene) -> None:
    assert child(scene, "left", "A2").wait() == -signal.SIGKILL
    assert scene.reclaim("left", keep_queue=True)
    child(scene, "left")
    while not attached(scene, "left"):
        assert scene.processes["left"].poll() is None


def test_an_error_of_a_child_is_no_death_by_a_signal(scene: KillScene) -> None:
    assert child(scene, "nobody").wait() == 1


def test_no_child_outlives_its_nursery(scene: KillScene) -> None:
    children = [child(scene, role) for role in ("left", "right")]
    scene.nursery.close()
    scene.nursery.close()
    for one in children:
        with pytest.raises(ProcessLookupError):
            os.kill(one.pid, 0)
    scene.processes.clear()
