"""Processes killed at every named step and at random moments: nothing wrong delivered, nobody hung, nothing leaked.

`kills.py` has the scene and the killer. Three hundred kills a run here, ten thousand with `make faults`; then hosts that are
killed at each step of a reclaim, and the oracle's own tests.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringline.shm import Arena, reclaim_dead
from tests.conformance import raw
from tests.faults import kill_actor, kills
from tests.faults.kills import (
    HOST_CODE,
    SETTINGS,
    STEPS,
    Killer,
    KillScene,
    Setting,
    Tally,
    WrongError,
    kill_round,
    rounds,
    summary,
    surroundings,
)

KILLS = 75
"""In each of the four settings: three hundred a run. `make faults` does ten thousand."""


@pytest.fixture
def directory(shm_root: Path) -> Iterator[Path]:
    path = shm_root / "kills"
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.timeout(110)
@pytest.mark.parametrize("name", SETTINGS)
def test_kills_at_every_step_leave_nothing_wrong_hung_or_leaked(directory: Path, name: str) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    tally = kill_round(directory, SETTINGS[name], KILLS, seed)
    assert tally.kills >= KILLS
    assert tally.at_step > KILLS // 10
    assert tally.messages > 60, "no data flowed: the test says nothing"


@pytest.mark.timeout(110)
@pytest.mark.parametrize("keep", [True, False], ids=["keep", "drop"])
@pytest.mark.parametrize("step", [f"H{i}" for i in range(1, 10)])
def test_a_host_killed_while_it_reclaims_is_followed_by_one_that_finishes(
    directory: Path, step: str, keep: bool
) -> None:
    scene = KillScene(directory, Setting(("block", "drop_oldest", "block"), 3))
    try:
        for role in STEPS:
            scene.spawn(role)
        flowing(scene)
        scene.processes["forward"].kill()
        scene.processes["forward"].wait()
        scene.host.close()
        passes = 1 if "H3" <= step <= "H6" else 2  # the other steps are passed for the host's own ports first
        command = [sys.executable, "-c", HOST_CODE, str(directory), *(["forward"] if keep else [])]
        assert subprocess.run(command, env=surroundings(f"{step}:{passes}"), check=False).returncode == -9
        scene.host = Arena.adopt(directory)
        while reclaim_dead(scene.host)[1]:
            time.sleep(0.001)
        scene.spawn("forward")
        flowing(scene)
        scene.oracle.write(kill_actor.STOP, 1)
        assert ({role: process.wait() for role, process in scene.processes.items()}, scene.bad()) == (
            dict.fromkeys(STEPS, 0),
            "",
        )
        assert sorted(reclaim_dead(scene.host)[0]) == sorted(STEPS)
        assert (scene.references(), scene.unaccounted()) == (0, {"c0": 0, "c1": 0, "c2": 0})
    finally:
        scene.close()


def flowing(scene: KillScene) -> None:
    """Wait until every channel has moved 20 messages more."""
    before = {name: stats.message_count for name, stats in scene.host.channel_stats().items()}
    while any(stats.message_count < before[name] + 20 for name, stats in scene.host.channel_stats().items()):
        assert not scene.bad()
        time.sleep(0.002)


# ---- the oracle itself: a judge that never finds anything proves nothing ----


def leak(scene: KillScene) -> None:
    """Set a reference that nobody will ever clear."""
    words = raw.Raw(scene.directory, scene.layout)
    words.poke(words.block(3), words.peek(words.block(3)) | words.bit("c2") << 3)
    words.close()


def lose(scene: KillScene) -> None:
    """Count one message more than was sent, as a producer killed inside a step of two stores would."""
    words = raw.Raw(scene.directory, scene.layout)
    words.poke(words.channel("c2", raw.TAIL), words.peek(words.channel("c2", raw.TAIL)) - 1)
    words.close()


def complain(scene: KillScene) -> None:
    """Say what a reader says that finds a damaged message."""
    (scene.directory / "bad").write_text("c0: message 7 is damaged when taken")


@pytest.mark.parametrize(
    ("harm", "found"),
    [(leak, "still referenced"), (lose, "unaccounted"), (complain, "message 7 is damaged")],
    ids=["leak", "lose", "complain"],
)
def test_a_round_that_leaves_something_wrong_is_not_passed(
    directory: Path, monkeypatch: pytest.MonkeyPatch, harm: object, found: str
) -> None:
    def run(killer: Killer, _: int) -> None:
        for role in STEPS:
            killer.scene.spawn(role)
        flowing(killer.scene)
        for role, process in killer.scene.processes.items():
            process.kill()
            process.wait()
            killer.scene.reclaim(role, keep_queue=False)
            killer.scene.spawn(role)
        killer.scene.oracle.write(kill_actor.STOP, 1)
        killer.calm(killer._finished)
        assert callable(harm)
        harm(killer.scene)

    monkeypatch.setattr(Killer, "run", run)
    with pytest.raises(WrongError, match=found):
        kill_round(directory, SETTINGS["block"], 1, 0)


def test_a_scene_that_moves_nothing_hangs(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills, "HANG_S", 0.2)
    scene = KillScene(directory, SETTINGS["block"])
    try:
        with pytest.raises(WrongError, match="nothing moves any more"):
            Killer(scene, random.Random(1)).calm(lambda: False)
    finally:
        scene.close()


def test_a_node_that_ends_by_itself_is_no_kill(directory: Path) -> None:
    scene = KillScene(directory, SETTINGS["block"])
    try:
        scene.processes["left"] = subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(3)"])
        scene.processes["left"].wait()
        with pytest.raises(WrongError, match="left ended with 3"):
            Killer(scene, random.Random(1)).calm(lambda: False)
    finally:
        scene.close()


def test_ten_thousand_kills_are_divided_among_the_settings() -> None:
    planned = list(rounds(10_000, 7))
    assert sum(count for _, count, _ in planned) == 10_000
    assert {name for name, _, _ in planned} == set(SETTINGS)
    assert len({seed for _, _, seed in planned}) == len(planned)
    assert [count for _, count, _ in rounds(150, 7)] == [100, 50]


def test_the_summary_counts_what_was_done() -> None:
    total = Tally()
    total.add(Tally(Counter({"C4": 3, "": 2}), messages=10, host_deaths=1, stops=4, flushes=5))
    total.add(Tally(Counter({"C4": 1, "N3": 1})))
    text = summary(total, 9, 0, 1.0)
    assert "random moment 2, at steps {'C4': 4, 'N3': 1}" in text
    assert (
        "8 kills (5 of nodes at 2 named steps, 1 of hosts), 4 reclaims beside a stopped neighbour, 5 flushes, 10 messages"
        in text
    )
    assert text.endswith("0 rounds with a wrong message, a leak or a hang")
