"""How other libraries look at a message's array without a copy: DLPack, numpy's array protocols, Python's buffers.

Inherited by `RuntimeData`, so that ``torch.from_dlpack(data)``, ``numpy.asarray(data)`` or ``jax.dlpack.from_dlpack(data)`` take
a message as they take an array. Whatever was taken keeps the block until it is gone, like a view from `as_numpy`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ringline.errors import DataError, LeaseReleasedError

if TYPE_CHECKING:
    from ringline.data.arrays import Array


class Exchange:
    """What array libraries ask for. All raise as `as_numpy` does: `DataError` without an array, `LeaseReleasedError`."""

    __slots__ = ()

    if TYPE_CHECKING:

        def as_numpy(self) -> Array: ...

    def __dlpack__(self, **wishes: Any) -> Any:
        """Give a DLPack capsule of the array, flagged read-only if the message was received.

        Only DLPack 1.0 and later can say read-only. A consumer that asks for less (it passes no `max_version`) gets a
        `BufferError` that tells the way out, since it could write into a block that other readers share.
        """
        array = self.as_numpy()
        if not array.flags.writeable and (wishes.get("max_version") or (0, 0))[0] < 1 and not wishes.get("copy"):
            raise BufferError(
                "this message is read-only, which the asking library can't be told (it knows only DLPack before 1.0); "
                "give it data.copy(), or upgrade it"
            )
        try:
            return array.__dlpack__(**wishes)
        except TypeError:
            # numpy before 2.1 knows neither versions nor copies; what it exports then is writable by its own rule.
            return array.__dlpack__(stream=wishes.get("stream"))

    def __dlpack_device__(self) -> tuple[int, int]:
        """Say where the array lies: in the CPU's memory, `(1, 0)`."""
        return (1, 0)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Give the array to numpy: not copied unless another dtype or a copy is asked for."""
        array = self.as_numpy()
        if copy is False and dtype is not None and np.dtype(dtype) != array.dtype:
            raise ValueError(f"{array.dtype} can't be shown as {np.dtype(dtype)} without a copy")
        if copy:
            return array.astype(array.dtype if dtype is None else dtype, copy=True)
        return array if dtype is None else array.astype(dtype, copy=False)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """Describe the array as version 3 of numpy's array interface does.

        `data` is a buffer, not an address: it keeps the memory after `release()` too, which an address would not. There is
        none (`AttributeError`) for arrays that are empty or not in C order.
        """
        try:
            array = self.as_numpy()
        except LeaseReleasedError:
            raise
        except DataError as error:
            raise AttributeError(str(error)) from None
        if not array.nbytes or not array.flags.c_contiguous:
            raise AttributeError("an array that is empty or not in C order has no array interface; use __array__")
        described: dict[str, Any] = dict(array.__array_interface__)
        return described | {"data": memoryview(array.reshape(-1).view(np.uint8)), "strides": None}  # type: ignore[arg-type]

    def __buffer__(self, flags: int, /) -> memoryview:
        """Give ``memoryview(data)`` from Python 3.12 on; before that, ``memoryview(data.as_numpy())`` is the same."""
        del flags
        return memoryview(self.as_numpy())  # type: ignore[arg-type]
