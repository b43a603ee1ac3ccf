"""Counters in the header: exact, and readable by a process that is not attached."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ringline.errors import ArenaError
from ringline.shm import ArenaView
from ringline.shm.stats import BUCKET_BOUNDS_S, DROP_REASONS
from tests.conformance.conftest import MakeScene
from tests.conformance.scene import channel, drain, put


def test_messages_bytes_and_occupancy_are_counted(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=5))
    for size in (10, 20, 30):
        put(scene.writer("a"), bytes(size))
    stats = scene.channel_stats("a")
    assert (stats.name, stats.producer, stats.consumer, stats.capacity) == ("a", "@host", "node", 5)
    assert (stats.message_count, stats.bytes_transferred, stats.current_occupancy, stats.copies) == (3, 60, 3, 3)
    drain(scene.reader("a"))
    stats = scene.channel_stats("a")
    assert (stats.message_count, stats.current_occupancy) == (3, 0)
    assert stats.dropped == dict.fromkeys(DROP_REASONS, 0)


def test_blocked_time_can_be_seen_while_it_lasts(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=1))
    writer = scene.writer("a")
    put(writer, "x")
    assert scene.channel_stats("a").blocked_seconds == 0
    thread = threading.Thread(target=put, args=(writer, "y"))
    thread.start()
    while (during := scene.channel_stats("a").blocked_seconds) == 0:
        time.sleep(0.001)
    drain(scene.reader("a"))
    thread.join()
    after = scene.channel_stats("a").blocked_seconds
    assert after >= during
    assert scene.channel_stats("a").blocked_seconds == after


def test_a_beat_says_since_when_a_node_is_busy(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    before = time.monotonic_ns()
    scene.arena("node").beat(True)
    busy = scene.node_stats("node")
    scene.arena("node").beat(False)
    idle = scene.node_stats("node")
    assert before <= busy.busy_since_ns <= time.monotonic_ns()
    assert (busy.beats, idle.beats, idle.busy_since_ns) == (1, 2, 0)


def test_latencies_fall_into_buckets_of_powers_of_two(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    for seconds in (0.0, 1e-6, 3e-6, 0.5, 1e9, -1.0):
        scene.arena("node").observe(seconds)
    latency = scene.node_stats("node").latency
    assert [i for i, count in enumerate(latency.counts) for _ in range(count)] == [0, 0, 1, 2, 19, 31]
    assert latency.count == 6
    assert BUCKET_BOUNDS_S[2] == 4e-6
    assert BUCKET_BOUNDS_S[18] < 0.5 < BUCKET_BOUNDS_S[19]


def test_epoch_and_attachment_are_shown(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    assert (scene.node_stats("node").epoch, scene.node_stats("node").attached) == (1, False)
    assert (scene.arena("node").epoch, scene.node_stats("node").attached) == (1, True)


def test_another_process_reads_the_counters(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), "12345")
    code = (
        "import sys; from pathlib import Path; from ringline.shm import ArenaView\n"
        "with ArenaView.open(Path(sys.argv[1])) as view: print(view.channel_stats()['a'].bytes_transferred, view.node_stats()['@host'].attached)"
    )
    assert subprocess.check_output([sys.executable, "-c", code, str(scene.directory)], text=True).split() == [
        "5",
        "True",
    ]


def test_a_view_changes_nothing_and_takes_no_lock(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    before = (scene.directory / "arena").read_bytes()
    with ArenaView.open(scene.directory) as view:
        view.channel_stats()
        view.node_stats()
    assert (scene.directory / "arena").read_bytes() == before
    assert not scene.host.lock_held("node")


def test_a_closed_view_says_so(make_scene: MakeScene) -> None:
    view = ArenaView.open(make_scene(channel("a")).directory)
    view.close()
    view.close()
    with pytest.raises(ArenaError, match="view of an arena is closed"):
        view.channel_stats()


def test_there_is_no_view_without_an_arena(tmp_path: Path) -> None:
    with pytest.raises(ArenaError, match="No such file"):
        ArenaView.open(tmp_path)
