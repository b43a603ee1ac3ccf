"""What happens when a channel is full: block, drop_oldest, drop_newest, latest, deadline."""

from __future__ import annotations

import threading
import time

import pytest

from ringline.errors import ChannelFullError
from tests.conformance.conftest import MakeScene
from tests.conformance.scene import blocks_in_use, channel, drain, get, put


def test_block_waits_until_the_reader_takes_a_message(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=2))
    writer, reader, sent = scene.writer("a"), scene.reader("a"), list[bool]()
    thread = threading.Thread(target=lambda: sent.extend(put(writer, str(i)) for i in range(10)))
    thread.start()
    texts: list[str] = []
    while len(texts) < 10:
        assert scene.arena("node").wait(20)
        texts += drain(reader)
    thread.join()
    assert (texts, sent, scene.dropped("a")) == ([str(i) for i in range(10)], [True] * 10, {})


def test_a_timed_send_to_a_full_channel_raises_the_documented_error(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=1))
    put(scene.writer("a"), "x")
    with pytest.raises(ChannelFullError, match=r"Buffer at capacity \(backpressure active\).*'a' has 1 of 1"):
        scene.writer("a").send(b"y", 0, b"", 0, timeout_s=0.01)
    assert drain(scene.reader("a")) == ["x"]


def test_a_send_without_waiting_says_that_it_would_block(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=1))
    writer = scene.writer("a")
    assert writer.try_send(b"x", 0, b"", 0) is True
    assert writer.try_send(b"y", 0, b"", 0) is None
    assert drain(scene.reader("a")) == ["x"]
    assert writer.try_send(b"y", 0, b"", 0) is True


def test_a_loan_survives_a_commit_that_would_block(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=1))
    writer, loan = scene.writer("a"), scene.writer("a").loan(4)
    memoryview(loan)[:] = b"keep"
    put(writer, "first")
    assert writer.try_commit(loan, 0, b"", 0) is None
    assert drain(scene.reader("a")) == ["first"]
    assert writer.try_commit(loan, 0, b"", 0) is True
    assert drain(scene.reader("a")) == ["keep"]


def test_a_forward_that_would_block_keeps_the_message(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"), channel("b", "node", "@host", capacity=1))
    for text in ("1", "2"):
        put(scene.writer("a"), text)
    first, second = get(scene.reader("a")), get(scene.reader("a"))
    assert scene.writer("b").try_forward(first, 0, b"", 0) is True
    assert scene.writer("b").try_forward(second, 0, b"", 0) is None
    assert bytes(second) == b"2"


def test_block_in_a_node_drops_and_counts_after_its_timeout(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", "node", "@host", capacity=1, block_timeout_ms=20))
    assert put(scene.writer("a"), "kept") is True
    assert put(scene.writer("a"), "late") is False
    assert (drain(scene.reader("a")), scene.dropped("a")) == (["kept"], {"timeout": 1})


def test_block_in_the_host_raises_after_its_timeout(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=1, block_timeout_ms=20))
    put(scene.writer("a"), "kept")
    with pytest.raises(ChannelFullError):
        put(scene.writer("a"), "late")
    assert scene.dropped("a") == {}


def test_a_timeout_of_one_branch_does_not_keep_the_message_from_the_others(make_scene: MakeScene) -> None:
    scene = make_scene(
        channel("a", "node", "one", capacity=1, block_timeout_ms=10), channel("b", "node", "two", capacity=9)
    )
    for text in "xyz":
        assert put(scene.writer("a", "b"), text) is True
    assert (drain(scene.reader("a")), drain(scene.reader("b"))) == (["x"], ["x", "y", "z"])
    assert (scene.dropped("a"), scene.dropped("b")) == ({"timeout": 2}, {})


def test_giving_up_drops_and_counts_what_could_not_be_sent(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", "node", "@host", capacity=1, block_timeout_ms=500))
    writer = scene.writer("a")
    put(writer, "x")
    assert writer.block_timeout_s == 0.5
    assert writer.try_send(b"y", 0, b"", 0) is None
    assert writer.give_up() is False
    assert (scene.dropped("a"), writer.give_up(), scene.dropped("a")) == ({"timeout": 1}, False, {"timeout": 1})


def test_drop_oldest_keeps_the_newest(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=3, overflow="drop_oldest"))
    assert all(put(scene.writer("a"), str(i)) for i in range(10))
    assert (drain(scene.reader("a")), scene.dropped("a")) == (["7", "8", "9"], {"overwritten": 7})
    assert blocks_in_use(scene.directory, scene.layout) == 0


def test_drop_newest_keeps_the_oldest(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=3, overflow="drop_newest"))
    assert [put(scene.writer("a"), str(i)) for i in range(5)] == [True, True, True, False, False]
    assert (drain(scene.reader("a")), scene.dropped("a")) == (["0", "1", "2"], {"newest": 2})


def test_latest_keeps_one(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=1, overflow="latest"))
    for i in range(5):
        put(scene.writer("a"), str(i))
    assert (drain(scene.reader("a")), scene.dropped("a")) == (["4"], {"overwritten": 4})


def test_deadline_never_delivers_what_is_too_old(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=8, overflow="deadline", deadline_ms=30))
    for text in "ab":
        put(scene.writer("a"), text)
    time.sleep(0.05)
    got: list[str] = []
    tries = 0
    while not got:  # again, if this process was not given the processor for 30 ms meanwhile
        begun, tries = time.monotonic(), tries + 1
        put(scene.writer("a"), "c")
        got = drain(scene.reader("a"))
        assert got or time.monotonic() - begun > 0.03
    assert (got, scene.dropped("a")) == (["c"], {"deadline": 1 + tries})


def test_deadline_drops_the_oldest_when_full(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=2, overflow="deadline", deadline_ms=60_000))
    for text in "abc":
        put(scene.writer("a"), text)
    assert (drain(scene.reader("a")), scene.dropped("a")) == (["b", "c"], {"overwritten": 1})


def test_a_held_message_is_neither_dropped_nor_overwritten(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=1, overflow="latest"))
    put(scene.writer("a"), "held")
    lease = get(scene.reader("a"))
    for i in range(100):
        put(scene.writer("a"), f"new{i}")
    assert (bytes(lease), drain(scene.reader("a"))) == (b"held", ["new99"])


def test_a_blocking_branch_holds_back_a_dropping_one(make_scene: MakeScene) -> None:
    scene = make_scene(
        channel("a", consumer="one", capacity=1), channel("b", consumer="two", capacity=1, overflow="latest")
    )
    writer = scene.writer("a", "b")
    put(writer, "1")
    assert writer.try_send(b"2", 0, b"", 0) is None
    assert (drain(scene.reader("a")), drain(scene.reader("b"))) == (["1"], ["1"])


@pytest.mark.parametrize("overflow", ["drop_oldest", "latest"])
def test_every_message_is_taken_or_counted_as_dropped(make_scene: MakeScene, overflow: str) -> None:
    scene = make_scene(channel("a", capacity=1 if overflow == "latest" else 3, overflow=overflow))  # type: ignore[arg-type]
    writer, reader, count = scene.writer("a"), scene.reader("a"), 5000
    thread = threading.Thread(target=lambda: [put(writer, str(i)) for i in range(count)])
    thread.start()
    taken: list[str] = []
    while thread.is_alive() or scene.channel_stats("a").current_occupancy:
        scene.arena("node").wait(0.01)
        taken += drain(reader)
    thread.join()
    numbers = [int(text) for text in taken]
    assert numbers == sorted(set(numbers))
    assert len(taken) + scene.dropped("a").get("overwritten", 0) == count == scene.channel_stats("a").message_count
