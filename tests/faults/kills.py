"""Kills by the hundred: the scene, the killer and the check that `test_kill_points.py` runs, and a program for many more.

``python -m tests.faults.kills --kills 10000`` (`make faults`) goes through the scenes in rounds of a hundred kills and ends
with a line that counts them. It uses an extension built so that a lost wake-up hangs instead of costing a second. A round: four processes pass messages on (write → forward → right, and write → left), die at a
named step or at a random moment, are reclaimed and replaced; some reclaims are done by a host that is killed itself, some
while a neighbour is stopped, and channels are flushed meanwhile. After each quarter the survivors must move messages by
themselves, so a node that was wedged by another's death is seen; at the end the stream ends, everybody must finish, no block
may be referenced, and each channel must account for all its messages.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ringline
from ringline.graph.layout import ChannelPlan, Overflow, arena_layout, offsets
from ringline.names import HOST
from ringline.shm import Arena, reclaim_dead
from tests.faults import kill_actor
from tests.faults.nursery import Child, Nursery
from tests.helpers import variant

MAX_LIFE_S = 0.12
HANG_S = 60.0
"""A scene that moves nothing for so long, though nobody is killed any more, hangs. A loaded machine takes far less."""
ROUND = 100
SENDING = ["L2", "L3", "C1", "C3", "C4", "C5", "C6", "C7", "D2", "D3", "D4", "E1"]
READING = ["N3", "N4", "N5", "R1", "R2"]
ANY = ["A2", "A3", "B2", "W1", "W3", "W4"]
STEPS = {
    "write": SENDING + ANY,
    "forward": SENDING + READING + ANY,
    "left": READING + ANY,
    "right": READING + ANY,
}
HOST_STEPS = [*(f"H{i}" for i in range(1, 10)), "B2", "F1", "F2"]
HOST_CODE = """
import sys
from pathlib import Path
from ringline.shm import Arena, reclaim_dead
with Arena.adopt(Path(sys.argv[1])) as host:
    reclaim_dead(host, keep_queues_of=sys.argv[2:])
    host.flush(["write"], ["c0", "c1"])
"""


class WrongError(AssertionError):
    """Something that no kill may cause: a damaged, repeated or reordered message, a leak, a hang."""


@dataclass(frozen=True)
class Setting:
    """How the three channels behave. `large` messages fill the heap, so that writers wait for blocks and others help them."""

    overflow: tuple[Overflow, Overflow, Overflow]
    capacity: int
    large: bool = False


SETTINGS = {
    "block": Setting(("block", "block", "block"), 4),
    "mixed": Setting(("block", "drop_oldest", "drop_oldest"), 3),
    "drop": Setting(("drop_oldest", "latest", "latest"), 2),
    "tight": Setting(("block", "drop_oldest", "drop_oldest"), 4, large=True),
}


@dataclass
class Tally:
    """What a round did; `steps` counts the deaths at each named step, "" those at a random moment."""

    steps: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    host_deaths: int = 0
    stops: int = 0
    flushes: int = 0

    @property
    def at_step(self) -> int:
        return sum(count for step, count in self.steps.items() if step)

    @property
    def kills(self) -> int:
        return self.steps.total() + self.host_deaths

    def add(self, other: Tally) -> None:
        self.steps += other.steps
        self.messages += other.messages
        self.host_deaths += other.host_deaths
        self.stops += other.stops
        self.flushes += other.flushes


class KillScene:
    """The arena, the oracle and the four node processes."""

    def __init__(self, directory: Path, setting: Setting) -> None:
        directory.mkdir(mode=0o700)
        (directory / "oracle").write_bytes(bytes(4096))
        ends = [("write", "forward"), ("write", "left"), ("forward", "right")]
        channels = [
            ChannelPlan(i, f"c{i}", a, "out", b, "in", 1 if policy == "latest" else setting.capacity, policy)
            for i, ((a, b), policy) in enumerate(zip(ends, setting.overflow, strict=True))
        ]
        self.directory = directory
        self.layout = arena_layout(
            [*STEPS, HOST], channels, max_message_bytes=8192, shm_bytes=200_000 if setting.large else 8 << 20
        )
        self.host = Arena.create(directory, self.layout)
        self.oracle = kill_actor.Oracle(directory)
        self.oracle.write(kill_actor.LARGE, setting.large)
        self.nursery = Nursery(surroundings(""))
        self.processes: dict[str, Child | subprocess.Popen[bytes]] = {}
        self.failpoints: dict[str, str] = {}

    def spawn(self, role: str, failpoint: str = "") -> None:
        self.failpoints[role] = failpoint
        self.processes[role] = self.nursery.spawn(self.directory, role, failpoint)

    def reclaim(self, role: str, *, keep_queue: bool, tries: int = 1 << 30) -> bool:
        """Repeat while a neighbour sits in a commit, as the host does."""
        for _ in range(tries):
            if self.host.reclaim(role, keep_queue=keep_queue):
                return True
            time.sleep(0.001)
        return False

    def bad(self) -> str:
        path = self.directory / "bad"
        return path.read_text() if path.exists() else ""

    def moved(self) -> dict[str, int]:
        return {name: stats.message_count for name, stats in self.host.channel_stats().items()}

    def references(self) -> int:
        data, places = (self.directory / "arena").read_bytes(), offsets(self.layout)
        tables = zip(self.layout.nodes, places.tables, strict=True)
        return sum(
            struct.unpack_from("<Q", data, at + 64 * b)[0] != 0 for heap, at in tables for b in range(heap.blocks)
        )

    def unaccounted(self) -> dict[str, int]:
        """Per channel: head - taken - dropped, straight from its words."""
        data, at = (self.directory / "arena").read_bytes(), offsets(self.layout).channel_words
        found = {}
        for channel in self.layout.channels:
            head, tail = (struct.unpack_from("<Q", data, at + 512 * channel.index + word)[0] for word in (0, 64))
            found[channel.name] = (head - (tail >> 32) - tail) % (1 << 32)
        return found

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.nursery.close()
        self.host.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def surroundings(failpoint: str) -> dict[str, str]:
    """Return the environment of a process that uses this very ringline and dies at a step."""
    return {
        **os.environ,
        "PYTHONPATH": str(Path(ringline.__file__).parents[1]),
        "RINGLINE_FAILPOINT": failpoint,
    }


class Killer:
    """One round: lets incarnations die until `kills` of them did, and keeps the tally."""

    def __init__(self, scene: KillScene, chance: random.Random) -> None:
        self.scene, self.chance, self.tally = scene, chance, Tally()
        self._life_s: dict[str, float] = {}
        self._until: dict[str, float] = {}

    def run(self, kills: int) -> None:
        for role in STEPS:
            self._start(role)
        for quarter in range(1, 5):
            while self.tally.kills < kills * quarter // 4:
                time.sleep(0.002)
                self._turn()
            self.calm(self._flowing())
        self.scene.oracle.write(kill_actor.STOP, 1)
        self.calm(self._finished)
        self.tally.messages = sum(self.scene.moved().values())

    def _start(self, role: str) -> None:
        """An incarnation dies at the n-th pass of a step, or at a random moment (the latter anyway in the end)."""
        self._until.pop(role, None)
        if self.chance.random() < 0.2:
            self._life_s[role] = self.chance.random() * MAX_LIFE_S
            self.scene.spawn(role)
        else:
            self._life_s[role] = MAX_LIFE_S
            self.scene.spawn(role, f"{self.chance.choice(STEPS[role])}:{self.chance.choice([1, 1, 2, 5, 20])}")

    def _turn(self) -> None:
        for role, process in list(self.scene.processes.items()):
            if process.poll() is None and not self._expired(role):
                continue
            self._bury(role)
            self._start(role)
        if self.chance.random() < 0.01:
            self.scene.host.flush(["forward"], ["c1", "c2"])
            self.tally.flushes += 1

    def _expired(self, role: str) -> bool:
        """Say whether a life is over; it begins when the process attaches, for until then it does nothing."""
        if role not in self._until and self.scene.host.node_stats()[role].attached:
            self._until[role] = time.monotonic() + self._life_s[role]
        return time.monotonic() >= self._until.get(role, float("inf"))

    def _bury(self, role: str) -> None:
        """Kill a process, unless a step did, and give back what it held."""
        process = self.scene.processes[role]
        by_itself = process.returncode is not None
        process.kill()
        if process.wait() != -signal.SIGKILL:
            raise WrongError(f"{role} ended with {process.returncode}: {self.scene.bad()}")
        self.tally.steps[self.scene.failpoints[role].partition(":")[0] if by_itself else ""] += 1
        keep_queue = self.chance.random() < 0.7
        kind = self.chance.random()
        if kind < 0.05:
            self._kill_host(role, keep_queue=keep_queue)
        elif kind < 0.15:
            self._with_a_stopped_neighbour(role, keep_queue=keep_queue)
        self.scene.reclaim(role, keep_queue=keep_queue)

    def _kill_host(self, role: str, *, keep_queue: bool) -> None:
        """Let a new host die while it takes over and reclaims; another one follows."""
        self.scene.host.close()
        step = f"{self.chance.choice(HOST_STEPS)}:{self.chance.choice([1, 1, 2, 3])}"
        command = [sys.executable, "-c", HOST_CODE, str(self.scene.directory), *([role] if keep_queue else [])]
        done = subprocess.run(command, env=surroundings(step), check=False)
        if done.returncode not in (0, -signal.SIGKILL):
            raise WrongError(f"a host that was to die at {step} ended with {done.returncode}")
        self.tally.host_deaths += done.returncode != 0
        self.scene.host = Arena.adopt(self.scene.directory)

    def _with_a_stopped_neighbour(self, role: str, *, keep_queue: bool) -> None:
        """Begin the reclaim while a neighbour stands still, perhaps inside a commit."""
        neighbour = self.scene.processes[self.chance.choice([other for other in STEPS if other != role])]
        neighbour.send_signal(signal.SIGSTOP)
        self.scene.reclaim(role, keep_queue=keep_queue, tries=3)
        neighbour.send_signal(signal.SIGCONT)
        self.tally.stops += 1

    def calm(self, done: Callable[[], bool]) -> None:
        """Kill nobody until `done`; who dies at a step that was named before is replaced by one that does not."""
        last, since = None, time.monotonic()
        while not done():
            time.sleep(0.002)
            if self.scene.bad():
                raise WrongError(self.scene.bad())
            for role, process in list(self.scene.processes.items()):
                if process.poll() not in (None, 0):
                    self._bury(role)
                    self.scene.spawn(role)
            now = (self.scene.moved(), self.tally.kills)
            if now != last:
                last, since = now, time.monotonic()
            if time.monotonic() - since > HANG_S:
                raise WrongError(f"nothing moves any more: {now}, unaccounted {self.scene.unaccounted()}")

    def _flowing(self) -> Callable[[], bool]:
        """Every channel has moved 20 messages more."""
        before = self.scene.moved()
        return lambda: all(count >= before[name] + 20 for name, count in self.scene.moved().items())

    def _finished(self) -> bool:
        return all(process.poll() == 0 for process in self.scene.processes.values())


def kill_round(directory: Path, setting: Setting, kills: int, seed: int) -> Tally:
    """Run one round in a directory that does not exist yet; raises `WrongError` with what was found."""
    scene = KillScene(directory, setting)
    try:
        killer = Killer(scene, random.Random(seed))
        killer.run(kills)
        if scene.bad():
            raise WrongError(scene.bad())
        unaccounted = scene.unaccounted()  # before the reclaim, which would drop what is queued and count it as lost
        if (gone := reclaim_dead(scene.host)) != (list(STEPS), []):
            raise WrongError(f"not all nodes could be reclaimed, only {gone}")
        left = (scene.references(), unaccounted)
        if left != (0, {"c0": 0, "c1": 0, "c2": 0}):
            raise WrongError(f"blocks still referenced and messages unaccounted for: {left}")
        return killer.tally
    finally:
        scene.close()


def rounds(wanted: int, seed: int) -> Iterator[tuple[str, int, int]]:
    """Divide `wanted` kills: the setting's name, the kills and the seed of each round."""
    chance, names = random.Random(seed), list(SETTINGS)
    for number, done in enumerate(range(0, wanted, ROUND)):
        yield names[number % len(names)], min(ROUND, wanted - done), chance.getrandbits(32)


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill processes of a session at every step, and check what is left.")
    parser.add_argument("--kills", type=int, default=10_000, help="how many, of nodes and of hosts (default 10000)")
    parser.add_argument("--seed", type=int, default=None, help="repeat a run's choices (its timing can't be repeated)")
    options = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    folder = variant.build("patient", variant.PATIENT)
    if Path(ringline.__file__).parents[1] != folder:
        os.execve(
            sys.executable, [sys.executable, "-m", "tests.faults.kills", *sys.argv[1:]], variant.environment(folder)
        )
    total, start, failed = Tally(), time.monotonic(), 0
    root = Path(tempfile.mkdtemp(prefix="rlkills", dir="/dev/shm"))
    try:
        for number, (name, kills, round_seed) in enumerate(rounds(options.kills, seed), 1):
            try:
                total.add(kill_round(root / f"k{number}", SETTINGS[name], kills, round_seed))
            except WrongError as wrong:
                failed += 1
                print(f"round {number} ({name}, seed {round_seed}): {wrong}", flush=True)
            if number % 10 == 0:
                print(f"{total.kills} kills, {failed} rounds failed, {time.monotonic() - start:.0f} s", flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(summary(total, seed, failed, time.monotonic() - start))
    return 1 if failed else 0


def summary(total: Tally, seed: int, failed: int, seconds: float) -> str:
    """Say what was done, and last how many rounds found something wrong."""
    named = {step: count for step, count in sorted(total.steps.items()) if step}
    return (
        f"seed {seed}; deaths of nodes at a random moment {total.steps['']}, at steps {named}\n"
        f"{total.kills} kills ({total.at_step} of nodes at {len(named)} named steps, {total.host_deaths} of hosts), "
        f"{total.stops} reclaims beside a stopped neighbour, {total.flushes} flushes, {total.messages} messages, "
        f"{seconds:.0f} s: {failed} rounds with a wrong message, a leak or a hang"
    )


if __name__ == "__main__":
    sys.exit(main())
