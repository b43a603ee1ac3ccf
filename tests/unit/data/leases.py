"""A lease without shared memory: what the tests of messages hold instead of a block."""

from __future__ import annotations

from typing import Any

from ringline.data.codec import decode, encode
from ringline.data.runtime_data import RuntimeData


class FakeLease(bytearray):
    """A buffer that knows whether it was released and whether somebody still looks at it."""

    released = False

    @property
    def nbytes(self) -> int:
        return len(self)

    @property
    def looked_at(self) -> bool:
        """A bytearray can't change its length while a view of it lives."""
        try:
            self.append(0)
        except BufferError:
            return True
        self.pop()
        return False

    def release(self) -> None:
        self.released = True


def block(payload: Any) -> FakeLease:
    view = memoryview(payload)
    return FakeLease(view.tobytes())


def over_the_wire(data: RuntimeData, session_id: str = "", **fields: Any) -> RuntimeData:
    """Send a message through encode and decode, as a channel of the session `session_id` does."""
    sent = encode(data, session_id)
    fields = {"timestamp": data.timestamp, "session_id": session_id, **fields}
    return decode(sent.kind, sent.meta, block(sent.payload), **fields)


def lease_of(data: RuntimeData) -> FakeLease:
    assert isinstance(data.lease, FakeLease)
    return data.lease
