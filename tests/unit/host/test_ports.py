"""The host's ends of channels on asyncio, over a real arena whose node is played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ringline import Pipeline, RuntimeConfig, RuntimeData
from ringline.data.codec import encode
from ringline.errors import ChannelFullError, EndOfStream, LeaseQuotaError, ProcessCrashed, SessionError
from ringline.graph.plan import SessionPlan
from ringline.host.ports import HostPorts
from ringline.shm import Arena

PLAN = (
    Pipeline("two")
    .add_node("anything", "a")
    .add_node("anything", "b")
    .input("in", to="a.input", capacity=2)
    .output("one", from_="a.output")
    .output("two", from_="b.output")
    .input("other", to="b.input", block_timeout_ms=20, capacity=1)
    .plan(RuntimeConfig(max_message_size=1 << 16, channel_capacity=4))
)


@pytest.fixture
def plan() -> SessionPlan:
    return PLAN


class Scene:
    """Host ports, and node a in the same process: it holds another lock byte, so the arena takes both."""

    def __init__(self, directory: Path) -> None:
        self.host = Arena.create(directory, PLAN.layout)
        self.ports = HostPorts(self.host, PLAN, "s1")
        self.send_channel = PLAN.input_channel("in")
        self.one, self.two = PLAN.output_channel("one"), PLAN.output_channel("two")

    def close(self) -> None:
        self.ports.close()
        self.host.close()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    found = Scene(tmp_path)
    yield found
    found.close()


@pytest.fixture
async def node(scene: Scene, tmp_path: Path) -> AsyncIterator[Arena]:
    with Arena.attach(tmp_path, "a") as arena:
        yield arena


def commit(node: Arena, text: str) -> None:
    wire = encode(RuntimeData.text(text))
    assert node.writer([PLAN.output_channel("one").name]).try_send(wire.payload, wire.kind, wire.meta, 7)


async def test_a_receive_is_woken_by_a_commit(scene: Scene, node: Arena) -> None:
    receiving = asyncio.create_task(scene.ports.receive(scene.one, None))
    await asyncio.sleep(0.01)
    assert not receiving.done()
    commit(node, "hello")
    data = await receiving
    assert (data.as_text(), data.timestamp, data.session_id, data.port) == ("hello", 7, "s1", "output")


async def test_what_came_before_is_received_without_waiting(scene: Scene, node: Arena) -> None:
    for number in range(3):
        commit(node, str(number))
    assert [(await scene.ports.receive(scene.one, 0.0)).as_text() for _ in range(3)] == ["0", "1", "2"]


async def test_an_unread_output_does_not_keep_a_waiter_spinning(scene: Scene, node: Arena) -> None:
    commit(node, "nobody reads this")
    turns = 0
    arm = scene.ports._arm

    def counting() -> bool:
        nonlocal turns
        turns += 1
        return arm()

    scene.ports._arm = counting  # type: ignore[method-assign]
    with pytest.raises(TimeoutError, match="nothing came from"):
        await scene.ports.receive(scene.two, 0.05)
    assert turns < 5


async def test_a_blocked_send_goes_on_when_there_is_room(scene: Scene, node: Arena) -> None:
    reader = node.reader(scene.send_channel.name)
    for _ in range(2):
        assert await scene.ports.send(scene.send_channel, RuntimeData.text("x"), None)
    sending = asyncio.create_task(scene.ports.send(scene.send_channel, RuntimeData.text("third"), None))
    await asyncio.sleep(0.01)
    assert not sending.done()
    lease = reader.next()
    assert lease is not None
    lease.release()
    assert await sending


async def test_senders_of_one_input_keep_their_order(scene: Scene, node: Arena) -> None:
    reader = node.reader(scene.send_channel.name)
    tasks = [
        asyncio.create_task(scene.ports.send(scene.send_channel, RuntimeData.text(str(n)), None)) for n in range(6)
    ]
    got: list[bytes] = []
    while len(got) < 6:
        await asyncio.sleep(0)
        lease = reader.next()
        if lease is not None:
            got.append(bytes(lease))
            lease.release()
    await asyncio.gather(*tasks)
    assert got == [b"0", b"1", b"2", b"3", b"4", b"5"]


async def test_a_full_input_is_told_by_time_and_at_once(scene: Scene) -> None:
    message = RuntimeData.text("x")
    for _ in range(2):
        scene.ports.try_send(scene.send_channel, message)
    with pytest.raises(ChannelFullError, match="channel 'input_to_a'"):
        scene.ports.try_send(scene.send_channel, message)
    with pytest.raises(ChannelFullError, match=r"after waiting 0\.01s"):
        await scene.ports.send(scene.send_channel, message, 0.01)
    other = PLAN.input_channel("other")
    assert await scene.ports.send(other, message, None)
    with pytest.raises(ChannelFullError, match=r"after waiting 0\.02s"):
        await scene.ports.send(other, message, None)


async def test_a_failure_ends_every_wait(scene: Scene) -> None:
    scene.ports.try_send(scene.send_channel, RuntimeData.text("x"))
    scene.ports.try_send(scene.send_channel, RuntimeData.text("x"))
    waits = [
        asyncio.create_task(scene.ports.receive(scene.one, None)),
        asyncio.create_task(scene.ports.receive(scene.one, None)),
        asyncio.create_task(scene.ports.send(scene.send_channel, RuntimeData.text("x"), None)),
    ]
    await asyncio.sleep(0.01)
    scene.ports.fail(ProcessCrashed("a", 137))
    scene.ports.fail(ValueError("only the first counts"))
    for wait in waits:
        with pytest.raises(ProcessCrashed, match="exited with code 137"):
            await wait
    with pytest.raises(ProcessCrashed):
        await scene.ports.receive(scene.one, None)


async def test_the_end_of_a_stream_comes_after_its_messages(scene: Scene, node: Arena) -> None:
    commit(node, "last")
    node.writer([scene.one.name]).end()
    assert (await scene.ports.receive(scene.one, None)).as_text() == "last"
    for _ in range(2):
        with pytest.raises(EndOfStream, match="output 'a_to_output' has ended"):
            await scene.ports.receive(scene.one, None)


async def test_an_ended_input_takes_nothing_more(scene: Scene, node: Arena) -> None:
    scene.ports.end(scene.send_channel)
    scene.ports.end(scene.send_channel)
    scene.ports.end_all()
    assert node.reader(scene.send_channel.name).ended
    with pytest.raises(SessionError, match="has ended"):
        await scene.ports.send(scene.send_channel, RuntimeData.text("x"), None)


async def test_a_hoarder_is_told(scene: Scene, node: Arena) -> None:
    kept: list[RuntimeData] = []

    async def hoard() -> None:
        for number in range(100):
            commit(node, str(number))
            kept.append(await scene.ports.receive(scene.one, None))

    with pytest.raises(LeaseQuotaError):
        await hoard()
    assert len(kept) == PLAN.output_channel("one").capacity + 16
    for data in kept:
        data.release()
    assert (await scene.ports.receive(scene.one, None)).as_text() == str(len(kept))


async def test_what_drains_is_thrown_away(scene: Scene, node: Arena) -> None:
    discarding = asyncio.create_task(scene.ports.discard())
    for number in range(50):
        commit(node, str(number))
        while scene.host.channel_stats()["a_to_output"].current_occupancy:
            await asyncio.sleep(0.001)
    discarding.cancel()
    await asyncio.gather(discarding, return_exceptions=True)
    assert scene.host.channel_stats()["a_to_output"].message_count == 50


async def test_what_a_receiver_gets_is_observed_as_latency(scene: Scene, node: Arena) -> None:
    wire = encode(RuntimeData.text("timed"))
    node.writer([scene.one.name]).try_send(wire.payload, wire.kind, wire.meta, 0, 1)
    data = await scene.ports.receive(scene.one, None)
    assert data.origin == 1
    assert scene.host.node_stats()["@host"].latency.count == 1


async def test_a_listener_gets_what_was_there_and_what_comes_until_the_stream_ends(scene: Scene, node: Arena) -> None:
    commit(node, "before")
    heard: list[str] = []
    scene.ports.listen(scene.one, lambda data: heard.append(data.as_text()))
    for number in range(200):
        while node.writer([scene.one.name]) and not _tried(node, str(number)):
            await asyncio.sleep(0.001)
    while len(heard) < 201:
        await asyncio.sleep(0.001)
    assert heard == ["before", *map(str, range(200))]
    node.writer([scene.one.name]).end()
    await asyncio.sleep(0.05)
    commit_after_end = scene.ports.hand_out()
    assert commit_after_end == 0


def _tried(node: Arena, text: str) -> bool:
    wire = encode(RuntimeData.text(text))
    try:
        return bool(node.writer([PLAN.output_channel("one").name]).try_send(wire.payload, wire.kind, wire.meta, 7))
    except ChannelFullError:
        return False


async def test_a_listener_that_fails_hears_the_next_one_and_others_receive_beside_it(
    scene: Scene, node: Arena, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def picky(data: RuntimeData) -> None:
        heard.append(data.as_text())
        if data.as_text() == "bad":
            raise ValueError("not that")

    scene.ports.listen(scene.one, picky)
    receiving = asyncio.create_task(scene.ports.receive(scene.two, None))
    commit(node, "bad")
    commit(node, "good")
    while len(heard) < 2:
        await asyncio.sleep(0.001)
    assert heard == ["bad", "good"]
    assert "a listener to output" in caplog.text
    assert not receiving.done()
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)


async def test_what_a_dead_node_left_is_handed_out_at_once(scene: Scene, node: Arena) -> None:
    heard: list[str] = []
    scene.ports.listen(scene.one, lambda data: heard.append(data.as_text()))
    commit(node, "last words")
    assert scene.ports.hand_out() == 1
    assert heard == ["last words"]


async def test_those_who_listen_leave_turns_to_others_while_messages_keep_coming(scene: Scene, node: Arena) -> None:
    heard = 0

    def again(data: RuntimeData) -> None:
        nonlocal heard
        heard += 1
        data.release()
        if heard < 2000:
            commit(node, "one more")

    commit(node, "the first")
    scene.ports.listen(scene.one, again)
    turns = 0
    while heard < 2000:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 5


async def test_only_the_output_that_is_named_is_handed_out(scene: Scene, node: Arena) -> None:
    heard: list[str] = []
    for channel in (scene.one, scene.two):
        scene.ports.listen(channel, lambda data: heard.append(data.as_text()))
    commit(node, "hello")
    assert scene.ports.hand_out(scene.two) == 0
    assert scene.ports.hand_out(scene.one) == 1
    assert heard == ["hello"]


async def test_a_message_that_can_not_be_read_keeps_no_listener_from_the_next(
    scene: Scene, node: Arena, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []
    wire = encode(RuntimeData.text("lost"))
    assert node.writer([scene.one.name]).try_send(wire.payload, wire.kind, b"no metadata", 7)
    commit(node, "hello")
    scene.ports.listen(scene.one, lambda data: heard.append(data.as_text()))
    commit(node, "again")
    while len(heard) < 2:
        await asyncio.sleep(0.001)
    assert heard == ["hello", "again"]
    assert "can't be read" in caplog.text
