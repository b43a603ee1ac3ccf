"""What goes in comes out: payload, metadata, order, and the same block without a copy."""

from __future__ import annotations

import pytest

from ringline.errors import ArenaError, LeaseReleasedError, MessageTooLargeError
from tests.conformance.conftest import MakeScene
from tests.conformance.scene import blocks_in_use, channel, drain, get, put


def test_a_message_arrives_with_everything_that_was_sent(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    assert scene.writer("a").send(b"payload", 7, b"meta", -5, 9)
    lease = get(scene.reader("a"))
    assert (bytes(lease), lease.kind, lease.meta, lease.timestamp, lease.origin) == (b"payload", 7, b"meta", -5, 9)
    assert (lease.nbytes, lease.sequence, lease.channel, lease.released) == (7, 0, "a", False)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 63, 64, 65, 4095, 4096, 65536])
def test_payloads_of_every_size_arrive_unchanged(make_scene: MakeScene, size: int) -> None:
    scene = make_scene(channel("a"))
    payload = bytes(i * 7 % 251 for i in range(size))
    put(scene.writer("a"), payload)
    assert bytes(get(scene.reader("a"))) == payload


@pytest.mark.parametrize("size", [0, 1, 7, 8, 511, 512, 513, 4096, 65536])
def test_metadata_of_every_size_arrives_unchanged(make_scene: MakeScene, size: int) -> None:
    scene = make_scene(channel("a"))
    meta = bytes(i * 5 % 253 for i in range(size))
    scene.writer("a").send(b"x", 1, meta, 0)
    lease = get(scene.reader("a"))
    assert (lease.meta, bytes(lease)) == (meta, b"x")
    lease.release()
    assert blocks_in_use(scene.directory, scene.layout) == 0


def test_messages_arrive_in_order_and_are_numbered(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=3))
    seen = []
    for i in range(50):
        put(scene.writer("a"), str(i))
        lease = get(scene.reader("a"))
        seen.append((lease.sequence, bytes(lease).decode()))
        lease.release()
    assert seen == [(i, str(i)) for i in range(50)]


def test_a_message_over_the_limit_is_refused_and_names_the_setting(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"), message=4096)
    with pytest.raises(
        MessageTooLargeError, match=r"4097 bytes for channel 'a' .*maxMessageSize \(max_message_size\), 4096 bytes"
    ):
        put(scene.writer("a"), bytes(4097))
    assert put(scene.writer("a"), bytes(4096))


def test_metadata_over_64_kib_is_refused(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    with pytest.raises(MessageTooLargeError, match="metadata of 65537 bytes"):
        scene.writer("a").send(b"", 0, bytes(65537), 0)


@pytest.mark.parametrize(
    "arguments",
    [(), (b"x", 1), (b"x", "kind", b"", 0), (b"x", 0, "text", 0), (b"x", 0, b"", 1 << 63), ("text", 0, b"", 0)],
)
def test_wrong_arguments_raise_and_send_nothing(make_scene: MakeScene, arguments: tuple[object, ...]) -> None:
    scene = make_scene(channel("a"))
    with pytest.raises((TypeError, OverflowError)):
        scene.writer("a").send(*arguments)  # type: ignore[arg-type]
    assert scene.reader("a").next() is None


def test_an_unknown_keyword_is_refused(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    with pytest.raises(TypeError, match="'patience'"):
        scene.writer("a").send(b"", 0, b"", 0, patience=1)  # type: ignore[call-arg]


def test_a_loan_is_filled_in_place_and_committed_without_a_copy(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    loan = scene.writer("a").loan(1000)
    memoryview(loan)[:] = b"z" * 1000
    assert scene.writer("a").commit(loan, 3, b"m", 4)
    lease = get(scene.reader("a"))
    assert (lease.address, bytes(lease), scene.channel_stats("a").copies) == (loan.address, b"z" * 1000, 0)


def test_a_committed_loan_cannot_be_used_again(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    loan = scene.writer("a").loan(10)
    scene.writer("a").commit(loan, 0, b"", 0)
    with pytest.raises(ValueError, match="committed or discarded already"):
        scene.writer("a").commit(loan, 0, b"", 0)
    with pytest.raises(LeaseReleasedError):
        memoryview(loan)


def test_a_discarded_loan_gives_its_block_back(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    for _ in range(100):
        scene.writer("a").loan(60_000).discard()
    assert scene.node_stats("@host").heap_used_bytes == 0


def test_a_discarded_loan_is_not_reused_while_somebody_can_write_into_it(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    loan = scene.writer("a").loan(100)
    view = memoryview(loan)
    loan.discard()
    other = scene.writer("a").loan(100)
    assert other.address != loan.address
    view.release()
    assert scene.writer("a").loan(100).address == loan.address


def test_a_forward_passes_the_same_block_on(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"), channel("b", "node", "@host"))
    put(scene.writer("a"), "through")
    lease = get(scene.reader("a"))
    assert scene.writer("b").forward(lease, 2, b"new", 1)
    lease.release()
    out = get(scene.reader("b"))
    assert (out.address, bytes(out), out.meta, scene.channel_stats("b").copies) == (
        lease.address,
        b"through",
        b"new",
        0,
    )


def test_a_forward_may_carry_large_metadata_of_its_own(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"), channel("b", "node", "@host"))
    scene.writer("a").send(b"block", 0, b"1" * 2000, 0)
    lease = get(scene.reader("a"))
    scene.writer("b").forward(lease, 0, b"2" * 3000, 0)
    out = get(scene.reader("b"))
    assert (out.address, out.meta, lease.meta) == (lease.address, b"2" * 3000, b"1" * 2000)
    lease.release()
    out.release()
    assert blocks_in_use(scene.directory, scene.layout) == 0


def test_the_same_block_twice_in_one_channel_is_copied(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"), channel("b", "node", "@host"))
    put(scene.writer("a"), "twice")
    lease = get(scene.reader("a"))
    for _ in range(2):
        assert scene.writer("b").forward(lease, 0, b"", 0)
    first, second = get(scene.reader("b")), get(scene.reader("b"))
    assert bytes(first) == bytes(second) == b"twice"
    assert (first.address == lease.address, second.address == lease.address) == (True, False)
    assert scene.channel_stats("b").copies == 1


def test_a_released_message_cannot_be_forwarded(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"), channel("b", "node", "@host"))
    put(scene.writer("a"), "x")
    lease = get(scene.reader("a"))
    lease.release()
    with pytest.raises(LeaseReleasedError):
        scene.writer("b").forward(lease, 0, b"", 0)


def test_fan_out_gives_every_reader_the_same_block(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", consumer="one"), channel("b", consumer="two"), channel("c", consumer="three"))
    put(scene.writer("a", "b", "c"), "shared")
    leases = [get(scene.reader(name)) for name in "abc"]
    assert len({lease.address for lease in leases}) == 1
    for count, lease in zip((1, 1, 0), leases, strict=True):
        lease.release()
        assert blocks_in_use(scene.directory, scene.layout) == count


def test_a_writer_without_channels_takes_everything(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    writer = scene.host.writer([])
    assert put(writer, "nowhere")
    loan = scene.writer("a").loan(8)
    assert writer.commit(loan, 0, b"", 0)
    assert loan.spent


def test_only_the_nodes_of_a_channel_may_open_its_ends(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    with pytest.raises(ArenaError, match="written by node '@host'"):
        scene.arena("node").writer(["a"])
    with pytest.raises(ArenaError, match="read by node 'node', not by '@host'"):
        scene.host.reader("a")
    with pytest.raises(ArenaError, match="no channel 'zzz'"):
        scene.host.writer(["zzz"])


def test_each_end_of_a_channel_exists_once(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a"))
    scene.writer("a")
    scene.reader("a")
    with pytest.raises(ArenaError, match="by one writer"):
        scene.host.writer(["a"])
    with pytest.raises(ArenaError, match="has a reader"):
        scene.arena("node").reader("a")


def test_nothing_is_left_in_the_heap_after_all_is_read(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", capacity=16), message=1 << 20)
    for i in range(12):
        scene.writer("a").send(bytes(i * 3000), 0, bytes(i * 200), 0)
    assert len(drain(scene.reader("a"))) == 12
    assert blocks_in_use(scene.directory, scene.layout) == 0
