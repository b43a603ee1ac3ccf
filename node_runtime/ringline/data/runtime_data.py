"""`RuntimeData`: one message, the unit of media that users see.

Nodes and applications make them; the codec makes those that were received. A received one shows the block's memory through a
lease: nothing is copied or decoded before somebody looks.
"""

# ruff: noqa: SLF001  (messages are also made by other ways than the constructor: from a block, from another message)

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np

from ringline.data import payloads
from ringline.data.arrays import Array, Layout
from ringline.data.coerce import data_type_for, is_wav
from ringline.data.exchange import Exchange
from ringline.data.factories import Factories
from ringline.data.types import DataType, Metadata, metadata_from_mapping
from ringline.errors import DataError, LeaseReleasedError

_UNREAD: Final = object()
_RELEASED: Final = object()
LEAST_TIME: Final = -(1 << 63)
MOST_TIME: Final = (1 << 63) - 1
_SETTABLE: Final = frozenset(("type", "session_id", "timestamp", "metadata", "sequence", "port", "origin"))


class Lease(Protocol):
    """What a message holds of a block: a read-only buffer that can be given back."""

    @property
    def released(self) -> bool: ...

    def release(self) -> None:
        """Give the block back; views that still live keep it until they end."""


class RuntimeData(Factories, Exchange):
    """One message: a payload, its type and what is known about it.

    `payload`: a numpy array (audio, video, tensor), str (text), path (file), JSON value (json, control) or bytes-like
    (binary), or a mapping of arrays by name (arrays). `timestamp`: media time in nanoseconds, 64 bits, 0 if not given. `metadata`: a metadata object, or a plain
    mapping that becomes one. The channel sets `sequence`, `port` (where it came in) and `origin` (CLOCK_MONOTONIC in
    nanoseconds when it entered the session, 0 if unknown). Two messages are equal only if they are the same object.

    Raises DataError for a payload or a time that can't be carried.
    """

    __slots__ = (
        "__weakref__",
        "_layout",
        "_lease",
        "_payload",
        "metadata",
        "origin",
        "port",
        "sequence",
        "session_id",
        "timestamp",
        "type",
    )

    type: DataType
    metadata: Any
    session_id: str
    timestamp: int
    sequence: int | None
    port: str
    origin: int

    def __init__(
        self,
        type: DataType | str,  # noqa: A002  (the documented name)
        payload: Any,
        session_id: str = "",
        timestamp: int | None = None,
        metadata: Metadata | Mapping[str, Any] | None = None,
    ) -> None:
        data_type = type if type.__class__ is DataType else DataType(type)
        self.type = data_type
        self._payload = payloads.FORMS[data_type.code].check(payload, data_type)
        self._lease: Any = None
        self._layout: Layout | None = None
        self.session_id = session_id
        self.timestamp = 0 if timestamp is None else check_time(timestamp)
        self.metadata = metadata if isinstance(metadata, Metadata) else as_metadata(data_type, metadata)
        self.sequence = None
        self.port = ""
        self.origin = 0

    @classmethod
    def coerce(cls, value: Any, like: RuntimeData | DataType | None = None) -> RuntimeData:
        """Make a message from a raw value: array → tensor, bytes → binary, str → text, path → file, other JSON values → json.

        `like` is what the receiver expects: a data type, or a message whose type, metadata, session and time are taken over as
        far as they fit. With an audio type, bytes that are a WAV file become its samples. DataError for what fits nothing.
        """
        if isinstance(value, RuntimeData):
            return value
        wanted = like.type if isinstance(like, RuntimeData) else like
        if wanted is DataType.AUDIO and is_wav(value):
            from ringline.data.audio import read_wav_bytes

            return read_wav_bytes(bytes(value))
        data_type = data_type_for(value, wanted)
        if not isinstance(like, RuntimeData):
            return cls(data_type, value)
        return cls(data_type, value, like.session_id, like.timestamp, like.metadata if data_type is wanted else None)

    @property
    def payload(self) -> Any:
        """The payload; of a received message a read-only view of the block. LeaseReleasedError after `release()`."""
        payload = self._payload
        if payload is _UNREAD:
            self._refuse_released()
            payload = self._payload = payloads.FORMS[self.type.code].read(self._lease, self._layout)
        elif payload is _RELEASED or self._lease is not None:
            self._refuse_released()
        return payload

    def as_numpy(self) -> Array:
        """Show the payload as an array, without a copy; read-only if it was received. Binary payloads are shown as uint8.

        The array and all slices of it keep the message's block; take `.copy()` of what is to be kept for long. DataError if
        the type holds no numbers.
        """
        payload = self.payload
        if payload.__class__ is np.ndarray:
            return payload
        if self.type is DataType.BINARY:
            return payloads.as_bytes_view(payload)
        way_out = "several arrays; use .as_arrays()" if self.type is DataType.ARRAYS else "no array; use .payload"
        raise DataError(f"a {self.type.value} message holds {way_out}")

    def as_arrays(self) -> Mapping[str, Array]:
        """Give the arrays of an arrays message by name, each as `as_numpy` would: without a copy, read-only if received.

        DataError for a message of another type.
        """
        if self.type is DataType.ARRAYS:
            return self.payload  # type: ignore[no-any-return]
        raise DataError(f"a {self.type.value} message does not hold several arrays; use .as_numpy() or .payload")

    def as_text(self) -> str:
        """Give the payload of a text or file message, or UTF-8 bytes of a binary one. DataError for all others."""
        if self.type in (DataType.TEXT, DataType.FILE):
            return str(self.payload)
        if self.type is DataType.BINARY:
            return payloads.TEXT.read(self.payload, None)
        raise DataError(f"a {self.type.value} message is not text; use .payload")

    def as_json(self) -> Any:
        """Give the value of a json or control message, or the one that a text or binary message spells. DataError otherwise."""
        if self.type in (DataType.JSON, DataType.CONTROL):
            return self.payload
        if self.type in (DataType.TEXT, DataType.BINARY):
            raw = self.payload
            return payloads.parse_json(
                raw.encode() if isinstance(raw, str) else bytes(raw), f"the {self.type.value} message"
            )
        raise DataError(f"a {self.type.value} message is not JSON; use .payload")

    def size(self) -> int:
        """Bytes of the payload on the wire: of an array its data, of text its UTF-8, of a JSON value its compact form."""
        self._refuse_released()
        if self._lease is not None:
            return self._layout.nbytes if self._layout else lease_bytes(self._lease)
        return payloads.FORMS[self.type.code].size(self.payload)

    def copy(self) -> RuntimeData:
        """Give the same message in memory of its own: it outlives the block, and its array can be written to."""
        made = self.with_()
        made._payload, made._lease, made._layout = payloads.FORMS[self.type.code].copy(self.payload), None, None
        return made

    def with_(self, **changes: Any) -> RuntimeData:
        """Make a message with the same payload (and the same lease, so it passes on without a copy) and other fields.

        `changes` may name any attribute, `payload` too: that one gives up the lease. DataError for any other name, and for
        a `type` that stores its payload in another way.
        """
        made = RuntimeData.__new__(RuntimeData)
        for name in RuntimeData.__slots__[1:]:
            setattr(made, name, getattr(self, name))
        for name, value in changes.items():
            made._change(name, value)
        if "payload" in changes:
            form = payloads.FORMS[made.type.code]
            made._payload = form.check(changes["payload"], made.type)
            made._lease = made._layout = None
        elif payloads.FORMS[made.type.code] is not payloads.FORMS[self.type.code]:
            raise DataError(f"a {self.type.value} message can't become {made.type.value} with the same payload")
        return made

    def _change(self, name: str, value: Any) -> None:
        if name == "payload":
            return
        if name not in _SETTABLE:
            raise DataError(f"a message has no field {name!r}; its fields are payload, {', '.join(sorted(_SETTABLE))}")
        if name == "type":
            value = DataType(value)
        elif name == "timestamp":
            value = 0 if value is None else check_time(value)
        elif name == "metadata":
            value = value if isinstance(value, Metadata) else as_metadata(self.type, value)
        setattr(self, name, value)

    @property
    def lease(self) -> Lease | None:
        """What this message holds of a block; None if its payload is the application's own memory."""
        return self._lease  # type: ignore[no-any-return]

    @property
    def released(self) -> bool:
        """Whether the payload was given up."""
        return self._payload is _RELEASED or (self._lease is not None and self._lease.released)

    def release(self) -> None:
        """Give the block back to its owner; harmless when repeated. Arrays already taken from it stay valid."""
        self._payload = _RELEASED
        if self._lease is not None:
            self._lease.release()

    def _refuse_released(self) -> None:
        if self.released:
            raise LeaseReleasedError(
                f"this {self.type.value} message was released; take .copy() of what you need before release()"
            )

    def __repr__(self) -> str:
        parts = [self.type.value, self._describe(), f"t={self.timestamp / 1e9:.3f}s"]
        parts += [f"{name}={getattr(self, name)!r}" for name in ("session_id", "port") if getattr(self, name)]
        return f"<RuntimeData {' '.join(filter(None, parts))}>"

    def _describe(self) -> str:
        if self.released:
            return "released"
        if payloads.FORMS[self.type.code].is_array:
            array = self._layout or self._payload
            return f"{'x'.join(map(str, array.shape)) or 'scalar'} {array.dtype}"
        if self._payload is not _UNREAD and self.type is DataType.ARRAYS:
            return ", ".join(f"{name}: {'x'.join(map(str, a.shape))} {a.dtype}" for name, a in self._payload.items())[
                :120
            ]
        if self._payload is _UNREAD or self.type is DataType.BINARY:
            return f"{self.size()} bytes"
        return f"{self._payload!r:.60}"


def received(  # noqa: PLR0917  (called for each message: names would cost a tenth of it)
    data_type: DataType,
    metadata: Metadata | None,
    lease: Any,
    layout: Layout | None,
    session_id: str,
    timestamp: int,
    origin: int,
    sequence: int | None,
    port: str,
) -> RuntimeData:
    """Make a message that shows a block: made by the codec, which has checked everything."""
    data = RuntimeData.__new__(RuntimeData)
    data.type = data_type
    data._payload = _UNREAD
    data._lease = lease
    data._layout = layout
    data.session_id = session_id
    data.timestamp = timestamp
    data.metadata = metadata
    data.sequence = sequence
    data.port = port
    data.origin = origin
    return data


def lease_bytes(lease: Any) -> int:
    """Length of a lease's buffer."""
    try:
        return int(lease.nbytes)
    except AttributeError:
        return memoryview(lease).nbytes


def check_time(timestamp: Any) -> int:
    """Give a timestamp as an int of 64 bits; DataError for anything else."""
    if timestamp.__class__ is int and LEAST_TIME <= timestamp <= MOST_TIME:
        return timestamp
    try:
        time = timestamp.__index__()
    except AttributeError:
        raise DataError(f"a timestamp is a whole number of nanoseconds, not {timestamp!r:.80}") from None
    if not LEAST_TIME <= time <= MOST_TIME:
        raise DataError(f"timestamp {time} does not fit into 64 bits of nanoseconds")
    return int(time)


def as_metadata(data_type: DataType, metadata: Any) -> Metadata | None:
    """Make a metadata object of what an application gave as one: None, or a mapping. DataError for anything else."""
    if metadata is None:
        return None
    if isinstance(metadata, Mapping):
        return metadata_from_mapping(data_type, metadata)
    raise DataError(f"metadata must be a metadata object or a mapping, not {type(metadata).__name__}")
