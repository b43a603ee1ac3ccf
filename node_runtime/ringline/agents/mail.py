"""Messages that travel as a block in a channel, not on the control socket: of any size up to the channel's own limit."""

from __future__ import annotations

from typing import Any

from ringline.agents.values import pack, unpack
from ringline.control.messages import Message, MessageType
from ringline.data import RuntimeData
from ringline.errors import ControlError


def to_data(message: Message) -> RuntimeData:
    """Put a message into a block. Raises `DataError` for a payload that can't be carried."""
    fields = [message.type.value, message.message_id, message.timestamp, dict(message.payload)]
    return RuntimeData.binary(pack(fields))


def from_data(data: RuntimeData) -> Message:
    """Read a message back and free its block. Raises `ControlError` for one that is none."""
    found: Any = unpack(data.as_numpy().data)
    data.release()
    if not isinstance(found, list) or len(found) != 4 or found[0] not in MessageType.__members__:
        raise ControlError("a block in an agent's channel holds no message")
    kind, message_id, timestamp, payload = found
    return Message(MessageType(kind), payload, str(message_id), float(timestamp))
