"""In a forked child the extension is inert: no lock, no mapping, every use raises, nothing harms the parent."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

import pytest

from ringline.errors import ArenaError, LeaseReleasedError
from ringline.shm import ArenaView
from tests.conformance.conftest import MakeScene
from tests.conformance.scene import Scene, blocks_in_use, channel, drain, get, put

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def in_child(check: Callable[[], object]) -> int:
    """Run `check` in a forked child; 0 if nothing was raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            check()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_every_use_raises_in_a_forked_child(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"), channel("b", "node", "@host"))
    writer, reader, view = scene.writer("a"), scene.reader("a"), ArenaView.open(scene.directory)
    uses: list[Callable[[], object]] = [
        reader.next, lambda: put(writer, "x"), lambda: writer.loan(1), writer.end, scene.host.wait, scene.host.arm,
        lambda: scene.host.reclaim("node", keep_queue=True), lambda: scene.host.beat(True), scene.host.node_stats, view.node_stats,
    ]  # fmt: skip

    def check() -> None:
        for use in uses:
            with pytest.raises(ArenaError):
                use()
        assert scene.host.closed

    assert in_child(check) == 0
    view.close()


def test_leases_and_loans_are_void_in_a_forked_child(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), "x")
    lease, loan = get(scene.reader("a")), scene.writer("a").loan(5)

    def check() -> None:
        for item in (lease, loan):
            with pytest.raises(LeaseReleasedError):
                memoryview(item)
        lease.release()
        loan.discard()

    assert in_child(check) == 0
    assert (bytes(lease), blocks_in_use(scene.directory, scene.layout)) == (b"x", 1)


def test_a_child_that_closes_everything_leaves_the_parents_locks_and_messages(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), "x")
    node = scene.arena("node")

    def check() -> None:
        scene.host.close()
        node.close()
        os.closerange(3, 4096)

    assert in_child(check) == 0
    code = "import sys; from pathlib import Path; from ringline.shm import host_alive; sys.exit(not host_alive(Path(sys.argv[1])))"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code, str(scene.directory)]) == 0
    assert drain(scene.reader("a")) == ["x"]


def test_a_child_may_attach_itself(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), "for the child")

    def check() -> None:
        fresh = Scene.__new__(Scene)
        fresh.directory, fresh.layout, fresh._arenas, fresh._ends = scene.directory, scene.layout, {}, {}
        assert fresh.arena("node").epoch == 1
        assert drain(fresh.reader("a")) == ["for the child"]

    assert in_child(check) == 0
    assert (scene.host.lock_held("node"), scene.host.reclaim("node", keep_queue=True)) == (False, True)
