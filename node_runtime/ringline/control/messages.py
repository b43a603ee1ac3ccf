"""Control messages: what a host and a node tell each other beside the media, and their wire form.

Pure. Both ends of the link use it. Anything may arrive on a socket, so `from_bytes` believes nothing and raises
`ControlError` with the reason. A reply carries the message id of the command that it answers.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from ringline.errors import ControlError

VERSION: Final = 1
MAX_BYTES: Final = 64 << 10
MAX_DEPTH: Final = 32
"""Levels of nesting: our messages have 4; a reader should not need a deep stack for a stranger's."""
_LONGEST_ID: Final = 100


class MessageType(StrEnum):
    """What a message is. Commands go to a node, events come from it."""

    # Life (events, except START, STOP and SHUTDOWN).
    HELLO = "HELLO"
    """First words of a node: {token, epoch, pid, version}."""
    READY = "READY"
    PROGRESS = "PROGRESS"
    """{status, progress 0..1, message}"""
    START = "START"
    STOP = "STOP"
    """Drain: sources stop, the others end when their inputs have."""
    SHUTDOWN = "SHUTDOWN"
    """Clean up and exit now: {reason}."""
    SHUTDOWN_ACK = "SHUTDOWN_ACK"
    DONE = "DONE"
    """All inputs have ended and what was left is sent; the node exits with code 0."""
    ERROR = "ERROR"
    """The node fails: {reason, phase, error, file, line, traceback}."""
    # Commands that overtake the media.
    FLUSH = "FLUSH"
    FLUSHED = "FLUSHED"
    CANCEL = "CANCEL"
    CONFIG_UPDATE = "CONFIG_UPDATE"
    """{parameters} for `on_parameters`; answered by one with {ok, error}."""
    HEALTH_CHECK = "HEALTH_CHECK"
    HEALTH_CHECK_RESPONSE = "HEALTH_CHECK_RESPONSE"
    """{state, busy_s}"""
    METRICS = "METRICS"
    """The author's own {counters, gauges}."""
    LOG = "LOG"
    # Of the stand-alone handle.
    INPUT = "INPUT"
    OUTPUT = "OUTPUT"
    STREAM_CHUNK = "STREAM_CHUNK"


def _new_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Message:
    """One control message. `timestamp` is wall time in seconds, for people only."""

    type: MessageType
    payload: Mapping[str, Any] = field(default_factory=dict)
    message_id: str = field(default_factory=_new_id)
    timestamp: float = field(default_factory=time.time)

    def reply(self, kind: MessageType, payload: Mapping[str, Any] | None = None) -> Message:
        """Make the answer to this message: it has the same id."""
        return Message(kind, payload or {}, self.message_id)

    def to_bytes(self) -> bytes:
        """Give the wire form. ControlError if it can't be written or is larger than 64 KiB."""
        record = {
            "version": VERSION,
            "type": self.type.value,
            "message_id": self.message_id,
            "timestamp": self.timestamp,
            "payload": dict(self.payload),
        }
        try:
            data = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ControlError(f"a {self.type} message can't be written as JSON: {error}") from None
        if len(data) > MAX_BYTES:
            raise ControlError(f"a {self.type} message has {len(data)} bytes, at most {MAX_BYTES} are allowed")
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Message:
        """Read a wire form. ControlError, with the reason, for anything else."""
        record = _parse(data)
        version = record.get("version")
        if version != VERSION or isinstance(version, bool):
            raise ControlError(f"control version {_shown(version)} is not spoken here, only version {VERSION}")
        kind = record.get("type")
        if not isinstance(kind, str) or kind not in MessageType.__members__:
            raise ControlError(f"control message of unknown type {_shown(kind)}")
        message_id, stamp, payload = record.get("message_id"), record.get("timestamp"), record.get("payload")
        if not isinstance(message_id, str) or not 0 < len(message_id) <= _LONGEST_ID:
            raise ControlError(f"{kind} message without a proper message_id")
        if not isinstance(payload, dict):
            raise ControlError(f"{kind} message without a payload object")
        if isinstance(stamp, bool) or not isinstance(stamp, (int, float)):
            raise ControlError(f"{kind} message without a timestamp")
        return cls(MessageType(kind), payload, message_id, stamp)


def _parse(data: bytes) -> dict[str, Any]:
    if not data:
        raise ControlError("empty control message")
    if len(data) > MAX_BYTES:
        raise ControlError(f"control message of {len(data)} bytes, at most {MAX_BYTES} are allowed")
    try:
        record = json.loads(data)
    except RecursionError:
        raise ControlError(f"control message nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise ControlError(f"control message is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise ControlError(f"control message is a JSON {type(record).__name__}, not an object")
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _depth(record) > MAX_DEPTH:
        raise ControlError(f"control message nested deeper than {MAX_DEPTH} levels")
    return record


def _depth(value: Any) -> int:
    """Levels of nesting, counted level by level: recursion is what is to be avoided."""
    level, depth = [value], 0
    while level:
        depth += 1
        level = [
            item
            for box in level
            for item in (box.values() if isinstance(box, dict) else box)
            if isinstance(item, (dict, list))
        ]
    return depth


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
