"""Other libraries look at a message without a copy, read-only, and keep its block as long as they look."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ringline.data import RuntimeData
from ringline.errors import DataError, LeaseReleasedError
from tests.unit.data.leases import lease_of, over_the_wire

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


def received(array: Any = VALUES) -> RuntimeData:
    return over_the_wire(RuntimeData.tensor(array))


def address(array: np.ndarray[Any, Any]) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


def by_dlpack(data: RuntimeData) -> Any:
    return np.from_dlpack(data)


def by_array_protocol(data: RuntimeData) -> Any:
    return np.asarray(data)


def by_array_interface(data: RuntimeData) -> Any:
    return np.asarray(SimpleNamespace(__array_interface__=data.__array_interface__))


WAYS = pytest.mark.parametrize("way", [by_dlpack, by_array_protocol, by_array_interface])


@WAYS
def test_a_view_is_not_copied_and_can_not_be_written(way: Any) -> None:
    data = received()
    view = way(data)
    assert address(view) == address(data.as_numpy())
    assert (view.shape, view.dtype) == ((3, 4), np.float32)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1


@WAYS
def test_a_view_keeps_its_block_after_release_and_after_the_message(way: Any) -> None:
    data = received()
    lease, view = lease_of(data), way(data)
    data.release()
    del data
    assert lease.looked_at
    assert (view == VALUES).all()
    del view
    assert not lease.looked_at


@WAYS
def test_a_released_message_shows_nothing_more(way: Any) -> None:
    data = received()
    data.release()
    with pytest.raises(LeaseReleasedError):
        way(data)


@WAYS
def test_an_own_array_outlives_its_message(way: Any) -> None:
    data = RuntimeData.tensor(VALUES.copy())
    view = way(data)
    data.release()
    del data
    assert (view == VALUES).all()


@pytest.mark.parametrize(
    "array", [np.array(5.0), np.zeros((0, 3), np.int16), VALUES.T, VALUES[::2], np.array([1], ">i4")]
)
def test_numpy_takes_any_array(array: np.ndarray[Any, Any]) -> None:
    for data in (RuntimeData.tensor(array), received(array)):
        taken = np.asarray(data)
        assert (taken.shape, taken.dtype, taken.tolist()) == (array.shape, array.dtype, array.tolist())


def test_numpy_may_ask_for_a_copy_or_another_dtype() -> None:
    data = received()
    assert np.array(data, copy=True).flags.writeable
    assert np.asarray(data, np.float64).dtype == np.float64
    assert data.__array__(np.int32, copy=True).dtype == np.int32
    with pytest.raises(ValueError, match="can't be shown as int32 without a copy"):
        data.__array__(np.int32, copy=False)


def test_a_library_that_can_not_be_told_read_only_gets_the_way_out() -> None:
    data = received()
    with pytest.raises(BufferError, match=r"give it data\.copy\(\)"):
        data.__dlpack__()
    with pytest.raises(BufferError, match="read-only"):
        data.__dlpack__(max_version=(0, 8))
    assert np.from_dlpack(data.copy()).flags.writeable
    assert data.__dlpack_device__() == (1, 0)


def test_a_message_without_an_array_has_none_to_show() -> None:
    text = RuntimeData.text("hello")
    for ask in (text.__dlpack__, text.__array__):
        with pytest.raises(DataError, match="holds no array"):
            ask()
    assert not hasattr(text, "__array_interface__")


def test_python_takes_a_buffer() -> None:
    data = received()
    taken = data.__buffer__(0)
    assert (bytes(taken), taken.readonly) == (VALUES.tobytes(), True)


def library(name: str) -> Any:
    """Import a library that takes DLPack, or skip: none of them is among Ringline's own dependencies."""
    return pytest.importorskip(name, reason=f"{name} is not installed (pip install {name.partition('.')[0]})")


def test_torch_shares_the_block_and_keeps_it() -> None:
    torch = library("torch")
    data = received()
    lease, where = lease_of(data), address(data.as_numpy())
    tensor = torch.from_dlpack(data)
    data.release()
    del data
    assert tensor.data_ptr() == where
    assert lease.looked_at
    assert tensor.sum().item() == VALUES.sum()
    del tensor
    assert not lease.looked_at


def test_the_strict_array_api_shares_the_block() -> None:
    strict = library("array_api_strict")
    data = received()
    array = strict.from_dlpack(data)
    assert address(np.from_dlpack(array)) == address(data.as_numpy())


def test_jax_takes_an_own_array_and_says_what_it_needs_for_a_received_one() -> None:
    library("jaxlib")
    jax = importlib.import_module("jax.numpy")
    assert float(jax.from_dlpack(received().copy()).sum()) == VALUES.sum()
    try:
        assert float(jax.from_dlpack(received()).sum()) == VALUES.sum()
    except BufferError as error:
        assert "data.copy()" in str(error)  # noqa: PT017  (later versions of jax may know read-only)
