"""A message that is held: read-only, kept by every view of it, given back once."""

from __future__ import annotations

import gc
import threading

import pytest

from ringline.errors import ArenaError, LeaseQuotaError, LeaseReleasedError
from tests.conformance.conftest import MakeScene
from tests.conformance.scene import blocks_in_use, channel, get, put


def test_a_message_cannot_be_written(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), "x")
    view = memoryview(get(scene.reader("a")))
    assert view.readonly
    with pytest.raises(TypeError):
        view[0] = 1


def test_release_gives_the_block_back_at_once(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), "x")
    lease = get(scene.reader("a"))
    assert (blocks_in_use(scene.directory, scene.layout), scene.reader("a").held) == (1, 1)
    lease.release()
    lease.release()
    assert (blocks_in_use(scene.directory, scene.layout), scene.reader("a").held, lease.released) == (0, 0, True)


def test_a_view_keeps_the_block_after_release(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), "kept")
    lease = get(scene.reader("a"))
    view = memoryview(lease)[1:3]
    lease.release()
    assert (lease.released, blocks_in_use(scene.directory, scene.layout)) == (True, 1)
    for _ in range(20):
        put(scene.writer("a"), "other")
        get(scene.reader("a")).release()
    assert bytes(view) == b"ep"
    view.release()
    gc.collect()
    assert blocks_in_use(scene.directory, scene.layout) == 0


def test_a_released_message_has_no_buffer_any_more(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), "x")
    lease = get(scene.reader("a"))
    lease.release()
    with pytest.raises(LeaseReleasedError, match="take a copy"):
        memoryview(lease)


def test_a_forgotten_message_is_released(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), "x")
    lease = get(scene.reader("a"))
    del lease
    assert blocks_in_use(scene.directory, scene.layout) == 0


def test_messages_may_be_released_in_any_order_from_any_thread(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=8))
    for i in range(8):
        put(scene.writer("a"), str(i))
    leases = [get(scene.reader("a")) for _ in range(8)]
    threads = [threading.Thread(target=leases[i].release) for i in (5, 0, 7, 2, 1, 6, 4, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (blocks_in_use(scene.directory, scene.layout), scene.reader("a").held) == (0, 0)


def test_a_hoarder_is_named_when_it_asks_for_more(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=2))
    held = []
    for i in range(2 + 16):
        put(scene.writer("a"), str(i))
        held.append(get(scene.reader("a")))
    assert scene.reader("a").next() is None
    put(scene.writer("a"), "one more")
    with pytest.raises(LeaseQuotaError, match="channel 'a' holds 18 messages"):
        scene.reader("a").next()
    held.pop(0).release()
    assert bytes(get(scene.reader("a"))) == b"one more"


def test_leases_are_void_after_close(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), "x")
    lease = get(scene.reader("a"))
    scene.leave("node")
    assert lease.meta == b""
    with pytest.raises(LeaseReleasedError):
        memoryview(lease)
    lease.release()
    assert blocks_in_use(scene.directory, scene.layout) == 1  # only the host may give it back now
    assert scene.host.reclaim("node", keep_queue=False)
    assert blocks_in_use(scene.directory, scene.layout) == 0


def test_a_view_outlives_the_arena_that_it_came_from(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    put(scene.writer("a"), "still here")
    view = memoryview(get(scene.reader("a")))
    scene.leave("node")
    assert bytes(view) == b"still here"


def test_a_closed_arena_says_so(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    arena, reader = scene.arena("node"), scene.reader("a")
    scene.leave("node")
    arena.close()
    assert arena.closed
    for use in (arena.wait, arena.stamp, arena.arm, reader.next, arena.node_stats):
        with pytest.raises(ArenaError, match="closed"):
            use()


def test_an_arena_is_a_context_manager(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    with scene.arena("node") as arena:
        assert arena.node == "node"
    assert arena.closed
