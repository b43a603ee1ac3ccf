"""Payloads of megabytes are written past the caches, line by line: whatever their size and place, they arrive whole."""

from __future__ import annotations

import random

import pytest

from tests.conformance.conftest import MakeScene
from tests.conformance.scene import MIB, channel, get, put

STREAMED = 2 * MIB
"""From here on (`copy.c`)."""
BYTES = random.Random(4711).randbytes(STREAMED + 4096)


@pytest.mark.parametrize("more", [-1, 0, 1, 15, 16, 63, 64, 65, 127, 4095])
def test_large_payloads_of_every_size_arrive_unchanged(make_scene: MakeScene, more: int) -> None:
    scene = make_scene(channel("a"), message=STREAMED + 4096)
    put(scene.writer("a"), BYTES[: STREAMED + more])
    assert bytes(get(scene.reader("a"))) == BYTES[: STREAMED + more]


@pytest.mark.parametrize("offset", [1, 3, 8, 17, 33, 63])
def test_large_payloads_may_begin_anywhere_in_memory(make_scene: MakeScene, offset: int) -> None:
    scene = make_scene(channel("a"), message=STREAMED + 4096)
    payload = memoryview(BYTES)[offset : offset + STREAMED + 33]
    assert scene.writer("a").send(payload, 1, b"", 0)
    assert bytes(get(scene.reader("a"))) == bytes(payload)


def test_a_large_payload_ends_where_its_block_ends(make_scene: MakeScene) -> None:
    """Its neighbour in the heap was there before and is not touched."""
    scene = make_scene(channel("a"), message=STREAMED + 4096)
    put(scene.writer("a"), BYTES[: STREAMED + 64])
    first = get(scene.reader("a"))
    put(scene.writer("a"), bytes(STREAMED + 64))
    second = get(scene.reader("a"))
    first_before = bytes(first)
    assert bytes(second) == bytes(STREAMED + 64)
    second.release()
    put(scene.writer("a"), BYTES[1 : STREAMED + 64])
    assert bytes(get(scene.reader("a"))) == BYTES[1 : STREAMED + 64]
    assert bytes(first) == first_before == BYTES[: STREAMED + 64]


def test_a_forwarded_large_payload_that_must_be_copied_is_whole(make_scene: MakeScene) -> None:
    scene = make_scene(
        channel("in", consumer="node"), channel("out", "node", "end", capacity=4), message=STREAMED + 4096
    )
    put(scene.writer("in"), BYTES[: STREAMED + 100])
    held = get(scene.reader("in"))
    for _ in range(2):  # the second time the block is in that channel already
        assert scene.writer("out").forward(held, 1, b"", 0)
    held.release()
    taken = [get(scene.reader("out")) for _ in range(2)]
    assert [bytes(lease) == BYTES[: STREAMED + 100] for lease in taken] == [True, True]
    assert len({lease.address for lease in taken}) == 2
