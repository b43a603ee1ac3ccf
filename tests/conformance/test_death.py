"""Death is a dropped lock: nothing is reclaimed before, everything after, by whoever is host then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ringline.errors import ArenaError
from ringline.shm import Arena, host_alive, reclaim_dead
from ringline.shm.locks import LockHold, hold_zygote_lock, zygote_alive
from tests.conformance.conftest import MakeScene
from tests.conformance.scene import Scene, blocks_in_use, channel, drain, layout_of, put
from tests.helpers.freeze import freeze

ACTOR = Path(__file__).with_name("actor.py")
Spawn = Callable[[Scene, str], subprocess.Popen[str]]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    started: list[subprocess.Popen[str]] = []

    def start(scene: Scene, action: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(ACTOR), str(scene.directory), "node", action]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def through(make_scene: MakeScene, capacity: int = 8) -> Scene:
    return make_scene(channel("a", capacity=capacity), channel("b", "node", "@host", capacity))


def test_a_live_node_is_never_reclaimed(make_scene: MakeScene, spawn: Spawn) -> None:
    scene = through(make_scene)
    assert said(spawn(scene, "attached")) == "attached"
    assert scene.host.lock_held("node")
    assert scene.host.reclaim("node", keep_queue=False) is False
    assert scene.host.epoch_of("node") == 1
    assert reclaim_dead(scene.host) == ([], [])


def test_a_stopped_node_is_alive(make_scene: MakeScene, spawn: Spawn) -> None:
    scene = through(make_scene)
    process = spawn(scene, "attached")
    said(process)
    freeze(process.pid)
    assert scene.host.reclaim("node", keep_queue=False) is False
    kill(process)
    assert scene.host.reclaim("node", keep_queue=False) is True


def test_blocks_held_by_a_killed_reader_come_back(make_scene: MakeScene, spawn: Spawn) -> None:
    scene = through(make_scene)
    for i in range(5):
        put(scene.writer("a"), str(i))
    process = spawn(scene, "hold")
    assert said(process) == "holding"
    kill(process)
    assert blocks_in_use(scene.directory, scene.layout) == 5
    assert scene.host.reclaim("node", keep_queue=True)
    assert blocks_in_use(scene.directory, scene.layout) == 2
    assert drain(scene.reader("a")) == ["3", "4"]


def test_a_killed_readers_queue_may_be_dropped(make_scene: MakeScene, spawn: Spawn) -> None:
    scene = through(make_scene)
    for i in range(5):
        put(scene.writer("a"), str(i))
    process = spawn(scene, "hold")
    said(process)
    kill(process)
    assert reclaim_dead(scene.host) == (["node"], [])
    assert (blocks_in_use(scene.directory, scene.layout), scene.dropped("a")) == (0, {"reader_lost": 2})
    assert drain(scene.reader("a")) == []


def test_a_sender_that_waited_for_a_dead_reader_goes_on_after_the_reclaim(make_scene: MakeScene, spawn: Spawn) -> None:
    scene = through(make_scene, capacity=3)
    for i in range(3):
        put(scene.writer("a"), str(i))
    process = spawn(scene, "hold")
    said(process)
    for i in range(3, 6):
        put(scene.writer("a"), str(i))
    kill(process)
    assert scene.writer("a").try_send(b"6", 0, b"", 0) is None
    scene.host.reclaim("node", keep_queue=False)
    assert scene.host.wait(5) is True
    assert scene.writer("a").try_send(b"6", 0, b"", 0) is True


def test_a_killed_writers_loans_are_free_for_its_next_incarnation(make_scene: MakeScene, spawn: Spawn) -> None:
    scene = through(make_scene)
    process = spawn(scene, "loan")
    assert said(process) == "loaned"
    kill(process)
    scene.host.reclaim("node", keep_queue=True)
    assert scene.arena("node").epoch == 2
    assert scene.node_stats("node").heap_used_bytes == 0


def test_what_a_dead_writer_committed_is_still_delivered(make_scene: MakeScene, spawn: Spawn) -> None:
    scene = through(make_scene, capacity=4)
    process = spawn(scene, "send_forever")
    said(process)
    while scene.channel_stats("b").current_occupancy < 4:
        time.sleep(0.001)
    kill(process)
    scene.host.reclaim("node", keep_queue=True)
    assert scene.arena("node").epoch == 2
    assert scene.node_stats("node").heap_used_bytes == 4 * 64
    assert drain(scene.reader("b")) == ["x"] * 4
    put(scene.writer("b"), "next")
    assert drain(scene.reader("b")) == ["next"]


def test_a_new_incarnation_waits_until_the_old_one_is_reclaimed(make_scene: MakeScene, spawn: Spawn) -> None:
    scene = through(make_scene)
    process = spawn(scene, "attached")
    said(process)
    with pytest.raises(ArenaError, match="attached already, or its last process was not reclaimed"):
        Arena.attach(scene.directory, "node", timeout_s=0.05)
    kill(process)
    again = spawn(scene, "attached")
    time.sleep(0.1)
    assert scene.host.epoch_of("node") == 1
    scene.host.reclaim("node", keep_queue=True)
    assert said(again) == "attached"
    assert (scene.host.epoch_of("node"), scene.node_stats("node").attached) == (2, True)


def test_a_fenced_writer_commits_nothing_more_and_exits(make_scene: MakeScene, spawn: Spawn) -> None:
    scene = through(make_scene, capacity=64)
    process = spawn(scene, "send_forever")
    said(process)
    while not scene.host.fence("node"):
        drain(scene.reader("b"))
    committed = scene.channel_stats("b").message_count
    drain(scene.reader("b"))
    assert process.wait() == 70
    assert (scene.channel_stats("b").message_count, scene.host.fenced_nodes()) == (committed, ["node"])
    assert scene.host.reclaim("node", keep_queue=True)
    assert scene.host.fenced_nodes() == []


def test_a_stopped_writer_is_fenced_killed_and_reclaimed(make_scene: MakeScene, spawn: Spawn) -> None:
    scene = through(make_scene, capacity=64)
    process = spawn(scene, "send_forever")
    said(process)
    freeze(process.pid)
    scene.host.fence("node")
    kill(process)
    assert scene.host.reclaim("node", keep_queue=True)
    drain(scene.reader("b"))
    assert blocks_in_use(scene.directory, scene.layout) == 0


def test_a_forked_child_does_not_keep_its_dead_parent_alive(make_scene: MakeScene, spawn: Spawn) -> None:
    scene = through(make_scene)
    process = spawn(scene, "fork")
    assert said(process) == "forked"
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.kill()
    os.waitpid(process.pid, 0)
    assert scene.host.lock_held("node") is False
    assert scene.host.reclaim("node", keep_queue=False)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def test_the_host_cannot_reclaim_itself_and_nobody_else_may_reclaim(make_scene: MakeScene) -> None:
    scene = through(make_scene)
    with pytest.raises(ArenaError, match="can't reclaim itself"):
        scene.host.reclaim("@host", keep_queue=True)
    for use in (scene.arena("node").fence, scene.arena("node").end):
        with pytest.raises(ArenaError, match="only the session's host"):
            use("a")
    with pytest.raises(ArenaError, match="no node 'nobody'"):
        scene.host.reclaim("nobody", keep_queue=True)


def test_a_second_host_is_refused_while_the_first_one_lives(make_scene: MakeScene) -> None:
    scene = through(make_scene)
    assert host_alive(scene.directory)
    with pytest.raises(ArenaError, match="a live host owns the session"):
        Arena.adopt(scene.directory)
    with pytest.raises(ArenaError, match="holds an arena already"):
        Arena.create(scene.directory, scene.layout)
    assert host_alive(scene.directory)  # asking did not drop the lock


def test_a_live_host_is_seen_from_another_process(make_scene: MakeScene) -> None:
    scene = through(make_scene)
    code = f"from pathlib import Path; from ringline.shm import host_alive; print(host_alive(Path({str(scene.directory)!r})))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "True"


def test_a_host_that_is_gone_is_not_alive(session_dir: Path) -> None:
    assert not host_alive(session_dir)
    session_dir.mkdir()
    assert not host_alive(session_dir)
    with Arena.create(session_dir, layout_of(channel("a"))):
        assert host_alive(session_dir)
    assert not host_alive(session_dir)


def test_a_new_host_adopts_what_the_old_one_left(make_scene: MakeScene) -> None:
    scene = through(make_scene)
    put(scene.writer("a"), "from the first host")
    put(scene.writer("b"), "to the second host")
    scene.leave("@host")
    with Arena.adopt(scene.directory) as host:
        assert (host.epoch, host.index) == (2, 1)
        assert drain(host.reader("b")) == ["to the second host"]
        host.writer(["a"]).send(b"from the second", 0, b"", 0)
        assert drain(scene.reader("a")) == ["from the first host", "from the second"]


def test_the_zygotes_lock_is_its_own(session_dir: Path) -> None:
    session_dir.mkdir()
    hold = hold_zygote_lock(session_dir)
    assert (zygote_alive(session_dir), host_alive(session_dir)) == (True, False)
    with pytest.raises(ArenaError, match="held by a live process"):
        hold_zygote_lock(session_dir)
    hold.release()
    hold.release()
    assert not zygote_alive(session_dir)
    with pytest.raises(ValueError, match="byte 128"):
        LockHold(session_dir, 128)
