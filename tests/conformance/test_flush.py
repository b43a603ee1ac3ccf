"""Interruption: what is queued or in work before a flush is never delivered after it."""

from __future__ import annotations

import threading

from tests.conformance.conftest import MakeScene
from tests.conformance.scene import Scene, blocks_in_use, channel, drain, get, put


def chain(make_scene: MakeScene, capacity: int = 4) -> Scene:
    return make_scene(channel("a", capacity=capacity), channel("b", "node", "@host", capacity))


def test_queued_messages_are_flushed_and_counted(make_scene: MakeScene) -> None:
    scene = chain(make_scene)
    for text in "xyz":
        put(scene.writer("a"), text)
    scene.host.flush(["node"], ["a", "b"])
    put(scene.writer("a"), "after")
    assert (drain(scene.reader("a")), scene.dropped("a")) == (["after"], {"flushed": 3})
    assert blocks_in_use(scene.directory, scene.layout) == 0


def test_output_of_work_that_began_before_the_flush_is_dropped(make_scene: MakeScene) -> None:
    scene = chain(make_scene)
    node = scene.arena("node")
    put(scene.writer("a"), "question")
    node.stamp()
    lease = get(scene.reader("a"))
    scene.host.flush(["node"], ["a", "b"])
    put(scene.writer("b"), "answer to the old question")
    lease.release()
    node.stamp()
    put(scene.writer("b"), "new")
    assert (drain(scene.reader("b")), scene.dropped("b")) == (["new"], {"flushed": 1})


def test_without_stamps_each_commit_belongs_to_its_own_moment(make_scene: MakeScene) -> None:
    scene = chain(make_scene)
    scene.host.flush(["node"], ["a", "b"])
    put(scene.writer("b"), "now")
    assert drain(scene.reader("b")) == ["now"]


def test_channels_outside_the_flush_keep_their_messages(make_scene: MakeScene) -> None:
    scene = chain(make_scene)
    put(scene.writer("a"), "stays")
    scene.host.flush([], ["b"])
    assert drain(scene.reader("a")) == ["stays"]


def test_flushing_twice_is_as_good_as_once(make_scene: MakeScene) -> None:
    scene = chain(make_scene)
    put(scene.writer("a"), "x")
    for _ in range(2):
        scene.host.flush(["node"], ["a"])
    assert (drain(scene.reader("a")), scene.dropped("a")) == ([], {"flushed": 1})


def test_a_flush_wakes_reader_and_writer(make_scene: MakeScene) -> None:
    scene = chain(make_scene)
    node = scene.arena("node")
    before = node.flush_generation
    scene.reader("a")
    timer = threading.Timer(0.05, scene.host.flush, (["node"], ["a"]))
    timer.start()
    assert node.wait(20) is True
    timer.join()
    assert (node.flush_generation, node.wait(0)) == (before + 1, False)


def test_a_full_channel_of_flushed_messages_has_room(make_scene: MakeScene) -> None:
    scene = chain(make_scene, capacity=2)
    for text in "xy":
        put(scene.writer("a"), text)
    assert scene.writer("a").try_send(b"z", 0, b"", 0) is None
    scene.host.flush(["node"], ["a"])
    assert scene.writer("a").try_send(b"z", 0, b"", 0) is True
    assert (drain(scene.reader("a")), scene.dropped("a")) == (["z"], {"flushed": 2})


def test_a_held_message_survives_a_flush(make_scene: MakeScene) -> None:
    scene = chain(make_scene)
    put(scene.writer("a"), "held")
    lease = get(scene.reader("a"))
    scene.host.flush(["node"], ["a"])
    assert bytes(lease) == b"held"
