"""Two unrelated programs and `ringline.shm`, nothing else: the example, deaths on either side, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ringline.errors import ArenaError, ResourceLimitError
from ringline.shm import HOST, Arena, Channel, has_host, home, host, join, plan, reclaim_dead
from ringline.shm.arena import create_held
from tests.conformance.scene import blocks_in_use
from tests.helpers.tree import ROOT
from tests.unit.test_home import waiting_locks

EXAMPLE = ROOT / "examples" / "shm"
PAIR = (Channel("to", HOST, "peer", capacity=4), Channel("back", "peer", HOST))


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Return a list of programs that are ended after the test."""
    running: list[subprocess.Popen[str]] = []
    yield running
    for program in running:
        program.kill()
        program.communicate()


def start(started: list[subprocess.Popen[str]], script: str, directory: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(EXAMPLE / script), str(directory), *options]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    started.append(program)
    return program


def output(program: subprocess.Popen[str]) -> str:
    printed, errors = program.communicate()
    assert (program.returncode, errors) == (0, "")
    return printed


def expected(directory: Path) -> str:
    return (EXAMPLE / "expected-output.txt").read_text().replace("/dev/shm/ringline-example", str(directory))


@pytest.mark.parametrize("order", [("produce.py", "consume.py"), ("consume.py", "produce.py")])
def test_the_example_prints_what_it_says_in_either_order(
    shm_root: Path, started: list[subprocess.Popen[str]], order: tuple[str, str]
) -> None:
    directory = shm_root / "example"
    programs = {script: start(started, script, directory) for script in order}
    assert output(programs["produce.py"]) == expected(directory)
    assert output(programs["consume.py"]) == ""
    assert not directory.exists()


DIES = """
import os, signal, sys
from pathlib import Path
from ringline.shm import join
arena = join(Path(sys.argv[1]), "viewer", timeout_s=60)
reader = arena.reader("pictures")
held = []
while len(held) < 2:
    arena.wait(1.0)
    held += filter(None, [reader.next()])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_consumer_that_dies_with_all_blocks_is_replaced_and_loses_only_what_it_held(
    shm_root: Path, started: list[subprocess.Popen[str]]
) -> None:
    directory = shm_root / "example"
    producer = start(started, "produce.py", directory, "--count", "12")
    dying = subprocess.run([sys.executable, "-c", DIES, str(directory)], env=dict(os.environ), check=False)
    assert dying.returncode == -signal.SIGKILL
    second = start(started, "consume.py", directory)
    printed = output(producer)
    assert output(second) == ""
    numbers = [int(line.split()[1].rstrip(":")) for line in printed.splitlines() if line.startswith("picture")]
    assert numbers == list(range(2, 12))
    assert not directory.exists()


def test_a_host_that_is_killed_is_followed_by_another_in_the_same_directory(
    shm_root: Path, started: list[subprocess.Popen[str]]
) -> None:
    directory = shm_root / "example"
    dead = start(started, "produce.py", directory)
    assert dead.stdout is not None
    assert dead.stdout.readline().startswith("waiting for")
    dead.send_signal(signal.SIGKILL)
    dead.communicate()
    assert (directory / "arena").exists()
    programs = [start(started, "produce.py", directory), start(started, "consume.py", directory)]
    assert output(programs[0]) == expected(directory)
    assert not directory.exists()


def test_a_second_host_is_refused_while_the_first_one_lives(
    shm_root: Path, started: list[subprocess.Popen[str]]
) -> None:
    directory = shm_root / "example"
    first = start(started, "produce.py", directory)
    assert first.stdout is not None
    assert first.stdout.readline().startswith("waiting for")
    with pytest.raises(ArenaError, match="has a live host"), host(directory, plan(PAIR)):
        raise AssertionError("two hosts")
    assert output(start(started, "consume.py", directory)) == ""
    assert first.wait() == 0


def test_a_host_that_begins_while_another_one_does_takes_nothing_of_it_away(shm_root: Path) -> None:
    directory, layout = shm_root / "pair", plan(PAIR)
    refused: list[str] = []

    def second() -> None:
        try:
            with host(directory, layout):
                refused.append("two hosts")
        except ArenaError as error:
            refused.append(str(error))

    thread = threading.Thread(target=second)
    with home.opened(directory):
        thread.start()
        while f"{directory.stat().st_ino} 0 EOF" not in waiting_locks():
            pass
        arena = create_held(Arena, directory, layout)
    thread.join()
    with arena, join(directory, "peer") as peer:
        assert refused == [f"{directory} has a live host; end it, or choose another directory"]
        assert arena.writer(["to"]).send(b"there", 1, b"", 0)
        assert peer.reader("to").next() is not None
    home.remove(directory)


def test_messages_go_both_ways_and_nothing_is_left(shm_root: Path) -> None:
    directory, layout = shm_root / "pair", plan(PAIR)
    with host(directory, layout) as arena, join(directory, "peer") as peer:
        assert (directory.stat().st_mode & 0o777, arena.node, peer.node) == (0o700, HOST, "peer")
        arena.writer(["to"]).send(b"there", 1, b"meta", 7)
        lease = peer.reader("to").next()
        assert lease is not None
        assert (bytes(lease), lease.kind, lease.meta, lease.timestamp) == (b"there", 1, b"meta", 7)
        peer.writer(["back"]).forward(lease, 2, b"again", 8)
        lease.release()
        back = arena.reader("back").next()
        assert back is not None
        assert (bytes(back), back.meta) == (b"there", b"again")
        back.release()
        assert blocks_in_use(directory, layout) == 0
        assert reclaim_dead(arena) == ([], [])
    assert not directory.exists()


def test_an_error_in_the_host_removes_everything_too(shm_root: Path) -> None:
    directory = shm_root / "pair"
    with pytest.raises(ZeroDivisionError), host(directory, plan(PAIR)):
        raise ZeroDivisionError
    assert not directory.exists()


def test_a_directory_with_other_files_is_refused_and_left_alone(shm_root: Path) -> None:
    directory = shm_root / "mine"
    directory.mkdir()
    (directory / "thesis.txt").write_text("years of work")
    with pytest.raises(ArenaError, match=r"holds 'thesis\.txt', which is not an arena's"), host(directory, plan(PAIR)):
        raise AssertionError("it was made")
    assert (directory / "thesis.txt").read_text() == "years of work"
    (directory / "thesis.txt").unlink()
    directory.rmdir()


def test_what_can_not_be_made_leaves_nothing_behind(shm_root: Path) -> None:
    layout = plan(PAIR)
    broken = replace(layout, channels=(replace(layout.channels[0], producer="ghost"), layout.channels[1]))
    with pytest.raises(ArenaError, match="joins 'ghost'"), host(shm_root / "pair", broken):
        raise AssertionError("it was made")
    assert not (shm_root / "pair").exists()


def test_joining_waits_for_the_host_and_then_says_that_it_is_missing(shm_root: Path) -> None:
    with pytest.raises(ArenaError, match=r"no host came to .*nowhere within 0\.05 s"):
        join(shm_root / "nowhere", "peer", timeout_s=0.05)


def test_a_program_is_told_when_its_host_has_gone(shm_root: Path, started: list[subprocess.Popen[str]]) -> None:
    directory = shm_root / "example"
    with host(directory, plan([Channel("pictures", HOST, "viewer"), Channel("answers", "viewer", HOST)])) as arena:
        consumer = start(started, "consume.py", directory)
        while not arena.node_stats()["viewer"].attached:
            arena.wait(0.02)
        assert has_host(directory)
    assert not has_host(directory)
    _, errors = consumer.communicate()
    assert (consumer.returncode, errors) == (1, f"the host of {directory} has gone\n")


def test_joining_under_a_name_that_the_plan_does_not_have_fails_at_once(shm_root: Path) -> None:
    with host(shm_root / "pair", plan(PAIR)), pytest.raises(ArenaError, match="stranger"):
        join(shm_root / "pair", "stranger", timeout_s=3600)


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ([Channel("a", HOST, "b"), Channel("a", "b", HOST)], "two channels 'a'"),
        ([Channel("a", "b", "b")], "joins 'b' to itself"),
        ([Channel("a", HOST, "b", capacity=3, overflow="latest")], "latest holds 1 message, not 3"),
    ],
)
def test_a_plan_that_can_not_be_is_refused_in_a_sentence(channels: list[Channel], message: str) -> None:
    with pytest.raises(ArenaError, match=message):
        plan(channels)


def test_a_plan_keeps_policies_and_limits() -> None:
    layout = plan([Channel("a", HOST, "b", overflow="latest"), Channel("c", "b", HOST, 9, "deadline", deadline_ms=5)])
    first, second = layout.channels
    assert (first.capacity, first.overflow, second.capacity, second.deadline_ms) == (1, "latest", 9, 5)
    with pytest.raises(ResourceLimitError, match="is too small"):
        plan(PAIR, max_message_bytes=1 << 20, shm_bytes=1 << 20)
