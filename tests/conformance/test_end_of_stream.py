"""A channel ends when its writer says so and everything before that is read."""

from __future__ import annotations

import threading

import pytest

from ringline.errors import ArenaError
from tests.conformance.conftest import MakeScene
from tests.conformance.scene import channel, drain, get, put


def test_the_end_comes_after_the_last_message(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    reader = scene.reader("a")
    put(scene.writer("a"), "last")
    assert not reader.ended
    scene.writer("a").end()
    assert not reader.ended
    assert drain(reader) == ["last"]
    assert reader.ended
    assert scene.channel_stats("a").ended


def test_an_empty_channel_may_end(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    scene.writer("a").end()
    assert (scene.reader("a").ended, scene.reader("a").next()) == (True, None)


def test_an_end_wakes_the_reader_once(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    scene.reader("a")
    timer = threading.Timer(0.05, scene.writer("a").end)
    timer.start()
    assert scene.arena("node").wait(20) is True
    timer.join()
    assert scene.arena("node").wait(0) is False
    assert scene.reader("a").ended


def test_nothing_can_be_sent_after_the_end(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    scene.writer("a").end()
    scene.writer("a").end()
    with pytest.raises(ArenaError, match="'a' was ended by this writer"):
        put(scene.writer("a"), "x")


def test_every_branch_of_a_fan_out_ends(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", consumer="one"), channel("b", consumer="two"))
    scene.writer("a", "b").end()
    assert scene.reader("a").ended
    assert scene.reader("b").ended


def test_the_host_ends_the_channel_of_a_writer_that_will_not_come_back(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", "node", "@host"))
    put(scene.writer("a"), "rest")
    scene.leave("node")
    assert scene.host.reclaim("node", keep_queue=True)
    scene.host.end("a")
    assert (drain(scene.reader("a")), scene.reader("a").ended) == (["rest"], True)


def test_dropped_messages_do_not_hide_the_end(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=1, overflow="latest"))
    for text in "xyz":
        put(scene.writer("a"), text)
    scene.writer("a").end()
    lease = get(scene.reader("a"))
    assert (bytes(lease), scene.reader("a").ended) == (b"z", True)
