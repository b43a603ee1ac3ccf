"""Values that agents exchange, as bytes: JSON with arrays in it."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline.agents.values import copied, pack, unpack
from ringline.errors import DataError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(JSON)
def test_json_values_come_back_equal(value: Any) -> None:
    assert unpack(pack(value)) == value


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u1", "?", "c8", ">i4"])
def test_arrays_come_back_anywhere_in_a_value(dtype: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)
    found = unpack(
        pack({"a": [1, {"b": array}], "t": array.T, "empty": np.zeros((0, 3), dtype), "zero": np.array(5, dtype)})
    )
    assert np.array_equal(found["a"][1]["b"], array)
    assert np.array_equal(found["t"], array.T)
    assert found["empty"].shape == (0, 3)
    assert found["zero"].shape == ()
    assert found["a"][1]["b"].dtype == array.dtype
    found["t"][0, 0] = 1  # a copy of its own


def test_tuples_become_lists_and_numpy_scalars_numbers() -> None:
    assert unpack(pack((1, np.float32(0.5), np.int64(3)))) == [1, 0.5, 3]
    assert math.isnan(unpack(pack(math.nan)))


@pytest.mark.parametrize(
    ("value", "named"),
    [(object(), "builtins.object"), ({1, 2}, "set"), (np.array([object()]), "object"), (b"x", "bytes")],
)
def test_what_can_not_be_carried_is_named(value: object, named: str) -> None:
    with pytest.raises(DataError, match=named):
        pack({"a": value})


def test_a_value_in_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(DataError, match="can't be sent"):
        pack(loop)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_an_error(data: bytes) -> None:
    try:
        unpack(data)
    except DataError:
        pass


@pytest.mark.parametrize(
    "header",
    [
        ["f8", [10], 0],
        ["f8", [-1], 0],
        ["O", [1], 0],
        ["f8", [1], 1 << 40],
        ["f8", [2**62, 4], 0],
        ["f8"],
        5,
        ["f8", "ab", 0],
    ],
)
def test_a_false_array_header_is_refused(header: Any) -> None:
    text = json.dumps({"~array": header}).encode()
    with pytest.raises(DataError):
        unpack(struct.pack("<I", len(text)) + text + b"\0" * 32)


@given(JSON)
def test_a_copy_is_what_would_have_come_by_the_wire(value: Any) -> None:
    assert copied(value) == unpack(pack(value)) == value


def test_a_copy_shares_nothing_and_is_made_of_the_same_types() -> None:
    array = np.arange(6.0).reshape(2, 3)
    value = {"a": (1, array.T), "n": np.float32(2), "deep": [{"b": [array]}], "long": list(range(500)), 3: "key"}
    copy, wire = copied(value), unpack(pack(value))
    assert [type(copy["a"]), type(copy["n"]), copy["3"], copy["long"][-1]] == [list, float, "key", 499]
    assert wire["n"] == copy["n"]
    assert np.array_equal(copy["a"][1], wire["a"][1])
    copy["deep"][0]["b"][0][:] = 0
    assert array.sum() == 15
    assert copied({"~array": 1, "x": 2}) == unpack(pack({"~array": 1, "x": 2}))


def test_a_copy_refuses_what_the_wire_refuses() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    for bad in (object(), {"a": {1, 2}}, [b"x"], np.array(["text"]), np.array([object()]), cycle, {"x": cycle}):
        with pytest.raises(DataError, match="can't be sent"):
            copied(bad)
        with pytest.raises(DataError, match="can't be sent"):
            pack(bad)
