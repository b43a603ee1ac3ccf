"""The division of shared memory: who gets how much, and that Python and C mean the same bytes."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

import ringline.shm
from ringline.errors import ResourceLimitError
from ringline.graph import layout as sizes
from ringline.graph.layout import ArenaLayout, ChannelPlan, arena_layout, heap_blocks, offsets, ring_slots
from ringline.names import HOST
from tests.conformance.scene import MIB

VOICE = ["vad", "asr", "answer", "tts", HOST]


def chain(nodes: list[str], capacity: int = 100) -> list[ChannelPlan]:
    around = [nodes[-1], *nodes]
    return [ChannelPlan(i, f"{a}_to_{b}", a, "out", b, "in", capacity) for i, (a, b) in enumerate(pairwise(around))]


def voice(shm: int = 256 * MIB, message: int = 16 * MIB) -> ArenaLayout:
    return arena_layout(VOICE, chain(VOICE), max_message_bytes=message, shm_bytes=shm)


def test_each_writer_gets_room_for_two_of_the_largest_messages() -> None:
    layout = voice()
    assert [heap.bytes for heap in layout.nodes] == [32 * MIB] * 5
    assert layout.heap_bytes_total == 160 * MIB
    assert 160 * MIB < layout.size_bytes < 161 * MIB


def test_a_node_without_outputs_gets_no_heap() -> None:
    layout = arena_layout(
        ["sink", HOST], [ChannelPlan(0, "a", HOST, "o", "sink", "i", 4)], max_message_bytes=MIB, shm_bytes=64 * MIB
    )
    assert [(heap.node, heap.bytes, heap.blocks) for heap in layout.nodes] == [
        ("sink", 0, 0),
        (HOST, 2 * MIB, 2 * (8 + 18 + 8)),
    ]


def test_all_heaps_shrink_alike_when_the_ceiling_is_low() -> None:
    layout = voice(shm=100 * MIB)
    assert len({heap.bytes for heap in layout.nodes}) == 1
    assert 16 * MIB <= layout.nodes[0].bytes < 20 * MIB
    assert 99 * MIB < layout.size_bytes <= 100 * MIB


def test_a_ceiling_below_one_message_each_is_refused_and_named() -> None:
    with pytest.raises(ResourceLimitError, match=r"shmSize 52428800 is too small: 5 heaps .* raise shmSize"):
        voice(shm=50 * MIB)


def test_too_many_channels_or_nodes_are_refused() -> None:
    with pytest.raises(ResourceLimitError, match="at most 32 nodes and 64 channels"):
        arena_layout([f"n{i}" for i in range(33)] + [HOST], [], max_message_bytes=MIB, shm_bytes=64 * MIB)
    with pytest.raises(ResourceLimitError, match="65 channels"):
        arena_layout(
            ["a", HOST], chain(["a", HOST]) * 32 + chain(["a", HOST])[:1], max_message_bytes=MIB, shm_bytes=64 * MIB
        )


@pytest.mark.parametrize("capacity", [0, -1, 4097, 1 << 31])
def test_an_impossible_capacity_is_refused(capacity: int) -> None:
    with pytest.raises(ResourceLimitError, match=f"capacity {capacity} is not between 1 and 4096"):
        arena_layout(["a", HOST], chain(["a", HOST], capacity), max_message_bytes=MIB, shm_bytes=64 * MIB)


@pytest.mark.parametrize(("capacity", "slots"), [(1, 1), (2, 2), (3, 4), (100, 128), (4096, 4096)])
def test_rings_have_a_power_of_two_of_slots(capacity: int, slots: int) -> None:
    assert ring_slots(capacity) == slots


def test_block_tables_are_bounded() -> None:
    assert heap_blocks([]) == 0
    assert heap_blocks(chain(["a", HOST], 4096) * 9) == 65536


@pytest.mark.parametrize("count", [1, 2, 31])
def test_parts_are_aligned_and_do_not_overlap(count: int) -> None:
    nodes = [f"n{i}" for i in range(count)] + [HOST]
    layout = arena_layout(nodes, chain(nodes, 7), max_message_bytes=4096, shm_bytes=64 * MIB)
    places = offsets(layout)
    starts = [
        places.kill_words,
        places.node_words,
        places.channel_words,
        *places.rings,
        *places.tables,
        *places.heaps,
        places.size,
    ]
    assert starts == sorted(starts)
    assert all(at % 64 == 0 for at in starts)
    assert all(at % 4096 == 0 for at in (places.kill_words, places.node_words, *places.heaps, places.size))
    assert places.size == layout.size_bytes


def test_python_and_c_agree_on_every_size() -> None:
    header = (Path(ringline.shm.__file__).parent / "csrc" / "words.h").read_text()
    asserted = {name: int(size) for name, size in re.findall(r"sizeof\((rl_\w+)\) == (\d+)", header)}
    assert asserted == {
        "rl_header": sizes.HEADER_BYTES,
        "rl_node_info": sizes.NODE_INFO_BYTES,
        "rl_channel_info": sizes.CHANNEL_INFO_BYTES,
        "rl_global_words": sizes.GLOBAL_WORDS_BYTES,
        "rl_node_words": sizes.NODE_WORDS_BYTES,
        "rl_channel_words": sizes.CHANNEL_WORDS_BYTES,
        "rl_slot": sizes.SLOT_BYTES,
        "rl_block": sizes.BLOCK_ENTRY_BYTES,
    }
