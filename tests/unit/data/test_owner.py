"""Seeing whose memory an array shows: a node's result that lies in a block already needs no copy."""

from __future__ import annotations

import numpy as np

from ringline.data import arrays
from ringline.data.arrays import Layout
from tests.unit.data.leases import FakeLease


def test_a_view_of_a_block_and_its_slices_belong_to_the_lease() -> None:
    lease = FakeLease(16)
    array = arrays.view(lease, Layout(np.dtype("f4"), (2, 2), 16))
    assert arrays.owner(array) is lease
    assert arrays.owner(array[1:].T) is lease


def test_an_array_on_its_own_memory_belongs_to_nobody() -> None:
    assert arrays.owner(np.zeros(3)) is None
    assert arrays.owner(np.zeros(3)[1:]) is None


def test_an_array_over_bytes_belongs_to_them() -> None:
    raw = b"abcd"
    assert arrays.owner(np.frombuffer(raw, np.uint8)) is raw


def test_an_empty_block_gives_an_empty_read_only_array() -> None:
    array = arrays.view(FakeLease(), Layout(np.dtype("f4"), (0, 3), 0))
    assert array.shape == (0, 3)
    assert not array.flags.writeable
