"""Attaching checks what it is given: type, owner, size, version, every number in the tables; once, on a copy."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ringline.errors import ArenaError, ResourceLimitError
from ringline.graph.layout import CHANNEL_INFO_BYTES, HEADER_BYTES, NODE_INFO_BYTES, ChannelPlan, offsets
from ringline.shm import Arena, ArenaView, home
from ringline.shm.arena import create_held
from tests.conformance.conftest import MakeScene
from tests.conformance.scene import channel, layout_of


@pytest.fixture
def arena_file(session_dir: Path) -> Path:
    """Return the file of an arena whose host is gone."""
    session_dir.mkdir()
    Arena.create(session_dir, layout_of(channel("a"), channel("b", "node", "@host"))).close()
    return session_dir / "arena"


def refused(path: Path, why: str) -> None:
    with pytest.raises(ArenaError, match=why):
        Arena.attach(path.parent, "node", timeout_s=0)


def test_a_missing_arena_is_refused(tmp_path: Path) -> None:
    (tmp_path / "locks").touch()
    refused(tmp_path / "arena", "No such file")


def test_an_unknown_node_is_refused(arena_file: Path) -> None:
    with pytest.raises(ArenaError, match="no node 'other'"):
        Arena.attach(arena_file.parent, "other")


@pytest.mark.parametrize("change", [-4096, -1, 1, 4096])
def test_a_truncated_or_extended_file_is_refused(arena_file: Path, change: int) -> None:
    os.truncate(arena_file, arena_file.stat().st_size + change)
    refused(arena_file, "do not fit each other")


@pytest.mark.parametrize("size", [0, 1, 127])
def test_a_file_without_a_header_is_refused(arena_file: Path, size: int) -> None:
    os.truncate(arena_file, size)
    refused(arena_file, "not a Ringline arena|do not fit")


def test_another_version_is_refused_and_both_are_named(arena_file: Path) -> None:
    patch(arena_file, 8, b"\x63\0\0\0")
    refused(arena_file, "layout version 99, this process speaks 1")


def test_a_symlink_is_refused(arena_file: Path) -> None:
    arena_file.rename(arena_file.with_name("real"))
    arena_file.symlink_to("real")
    refused(arena_file, "symbolic links")


def test_a_fifo_or_a_directory_is_refused(arena_file: Path) -> None:
    arena_file.unlink()
    os.mkfifo(arena_file)
    refused(arena_file, "not a regular file")
    arena_file.unlink()
    arena_file.mkdir()
    refused(arena_file, "directory")


def test_a_file_that_others_may_write_is_refused(arena_file: Path) -> None:
    arena_file.chmod(0o666)
    refused(arena_file, "writable by others")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_file_of_another_user_is_refused(arena_file: Path) -> None:
    os.chown(arena_file, 4711, 4711)
    refused(arena_file, "belongs to user 4711")


def patch(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_every_flipped_bit_of_the_tables_is_refused_or_harmless(arena_file: Path) -> None:
    tables = HEADER_BYTES + 2 * NODE_INFO_BYTES + 2 * CHANNEL_INFO_BYTES
    whole, chance, refusals = arena_file.read_bytes()[:tables], random.Random(7), 0
    for bit in chance.sample(range(tables * 8), 3000):
        patch(arena_file, bit // 8, bytes([whole[bit // 8] ^ 1 << bit % 8]))
        try:
            with ArenaView.open(arena_file.parent) as view:
                view.channel_stats()
                view.node_stats()
        except ArenaError:
            refusals += 1
        patch(arena_file, bit // 8, whole[bit // 8 : bit // 8 + 1])
    assert refusals > 300


def test_random_tables_are_refused(arena_file: Path) -> None:
    chance = random.Random(3)
    for _ in range(300):
        patch(arena_file, 8, chance.randbytes(4000))
        refused(arena_file, "arena")


def test_a_later_change_of_the_header_changes_nothing_for_who_is_attached(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    scene.reader("a")
    patch(scene.directory / "arena", 0, bytes(HEADER_BYTES + 2 * NODE_INFO_BYTES + CHANNEL_INFO_BYTES))
    assert scene.writer("a").send(b"x", 0, b"", 0)
    lease = scene.reader("a").next()
    assert lease is not None
    assert (bytes(lease), lease.channel) == (b"x", "a")


def test_a_block_table_that_contradicts_itself_is_refused(arena_file: Path) -> None:
    layout = layout_of(channel("a"), channel("b", "node", "@host"))
    table = offsets(layout).tables[0]
    patch(arena_file, table, (1).to_bytes(8, "little") + (1 << 40).to_bytes(8, "little") + (64).to_bytes(8, "little"))
    refused(arena_file, "block table of node 'node' contradicts itself")


def test_a_channel_between_unknown_nodes_cannot_be_made(session_dir: Path) -> None:
    session_dir.mkdir()
    layout = layout_of(channel("a"))
    stray = ChannelPlan(0, "a", "ghost", "out", "node", "in", 4)
    with pytest.raises(ArenaError, match="joins 'ghost' and 'node'"):
        Arena.create(session_dir, type(layout)(layout.nodes, (stray,), 1, 1, layout.size_bytes))
    assert list(session_dir.iterdir()) == []


def test_no_space_is_a_clear_error_and_leaves_nothing(session_dir: Path) -> None:
    session_dir.mkdir()
    code = (
        "import resource, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from ringline.shm import Arena; from tests.conformance.scene import channel, layout_of\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "Arena.create(Path(sys.argv[1]), layout_of(channel('a')))"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code, str(session_dir), root], capture_output=True, text=True, check=False
    )
    assert "ResourceLimitError: the session's shared memory needs" in done.stderr
    assert "are free" in done.stderr
    assert list(session_dir.iterdir()) == []


def descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_no_descriptors_is_an_error_and_leaves_nothing(session_dir: Path) -> None:
    session_dir.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(descriptors())
    layout = layout_of(channel("a"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used - 1, hard))
    try:
        with pytest.raises((ArenaError, ResourceLimitError)):
            Arena.create(session_dir, layout)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert list(session_dir.iterdir()) == []


def test_of_hosts_that_begin_at_once_one_wins_and_keeps_its_bells_and_its_lock(session_dir: Path) -> None:
    layout, barrier = layout_of(channel("a")), threading.Barrier(4)

    def begin(directory: Path) -> Arena | str:
        barrier.wait()
        try:
            return Arena.create(directory, layout)
        except ArenaError as error:
            return str(error)

    session_dir.mkdir()
    with ThreadPoolExecutor(4) as pool:
        for number in range(15):
            directory = session_dir / str(number)
            directory.mkdir()
            outcomes = list(pool.map(begin, [directory] * 4))
            [winner] = [outcome for outcome in outcomes if isinstance(outcome, Arena)]
            assert sum("holds an arena already" in outcome for outcome in outcomes if isinstance(outcome, str)) == 3
            assert sorted(path.name for path in directory.iterdir()) == ["arena", "bell.0", "bell.1", "locks"]
            with winner:
                assert winner.poll_fd > 0


def test_a_host_waits_for_one_that_is_beginning(session_dir: Path) -> None:
    session_dir.mkdir()
    layout = layout_of(channel("a"))
    with ThreadPoolExecutor(1) as pool:
        with home.held(session_dir):
            second = pool.submit(Arena.create, session_dir, layout)
            create_held(Arena, session_dir, layout).close()
        with pytest.raises(ArenaError, match="holds an arena already"):
            second.result()
    assert (session_dir / "bell.0").is_fifo()
    assert (session_dir / "locks").exists()


def test_an_arena_in_a_folder_that_is_missing_is_refused(session_dir: Path) -> None:
    with pytest.raises(ArenaError, match=r"can't make the FIFO .*bell\.0: No such file"):
        Arena.create(session_dir, layout_of(channel("a")))
    assert not session_dir.exists()


def test_a_session_leaves_no_descriptor_open(session_dir: Path) -> None:
    session_dir.mkdir()
    before = descriptors()
    with Arena.create(session_dir, layout_of(channel("a"))) as host:
        assert host.poll_fd > 0
        Arena.attach(session_dir, "node").close()
    assert descriptors() == before


def test_a_file_truncated_under_a_live_process_kills_only_that_process(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    code = (
        "import os, sys; from pathlib import Path; from ringline.shm import Arena\n"
        "arena = Arena.attach(Path(sys.argv[1]), 'node'); reader = arena.reader('a')\n"
        "os.truncate(Path(sys.argv[1]) / 'arena', 4096); reader.next()"
    )
    copy = scene.directory.with_name("copy")
    copy.mkdir()
    Arena.create(copy, scene.layout).close()
    done = subprocess.run([sys.executable, "-c", code, str(copy)], check=False)
    assert done.returncode == -signal.SIGBUS
    assert scene.writer("a").send(b"fine", 0, b"", 0)
    for path in copy.iterdir():
        path.unlink()
    copy.rmdir()
