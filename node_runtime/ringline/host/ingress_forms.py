"""The two sub-protocols of the WebSocket ingress: how a message looks on the wire, pure.

`ringline.v1` carries any message: one binary WebSocket message is one frame of `host.framing`. `pcm` is for browsers and
microphones: a binary message is 16-bit little-endian samples, and everything else is JSON in a text message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np

from ringline.data import RuntimeData
from ringline.data.audio import as_int16
from ringline.errors import DataError
from ringline.host import framing

RINGLINE: Final = "ringline.v1"
PCM: Final = "pcm"
_NS: Final = 1_000_000_000
_HEAD: Final = 4
_RATES: Final = range(4000, 384_001)

Heard = tuple[framing.Header, RuntimeData | None]
"""An operation, and its message if it is `data`."""


class Form(Protocol):
    """One connection's way of writing. Reading raises `DataError` with a sentence for the client."""

    def read(self, wire: str | bytes) -> Heard: ...
    def write(self, data: RuntimeData) -> list[str | bytes]: ...
    def say(self, header: Mapping[str, Any]) -> str | bytes: ...


class Frames:
    """`ringline.v1`. A text message is a header without a body."""

    def __init__(self, max_message_bytes: int) -> None:
        self._most = max_message_bytes

    def read(self, wire: str | bytes) -> Heard:
        header, body = self._split(wire.encode() if isinstance(wire, str) else wire, isinstance(wire, str))
        if framing.body_bytes(header, self._most) != len(body):
            raise DataError(f"the header announces {header.get('body', 0)} bytes, {len(body)} follow it")
        return header, _message(header, body) if header["op"] == "data" else None

    def _split(self, wire: bytes, is_text: bool) -> tuple[framing.Header, bytes]:
        if is_text:
            return framing.parse_header(wire), b""
        length = int.from_bytes(wire[:_HEAD], "little")
        if len(wire) < _HEAD or length > framing.MAX_HEADER_BYTES or length > len(wire) - _HEAD:
            raise DataError("a frame begins with 4 bytes that give its header's length, then comes the header")
        return framing.parse_header(wire[_HEAD : _HEAD + length]), wire[_HEAD + length :]

    def write(self, data: RuntimeData) -> list[str | bytes]:
        return [b"".join(bytes(piece) for piece in framing.message_frame(data))]

    def say(self, header: Mapping[str, Any]) -> bytes:
        return b"".join(framing.pack(header))


def _message(header: framing.Header, body: bytes) -> RuntimeData:
    try:
        return framing.message(header, body)
    except (ValueError, TypeError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the header says what can't be: {error}") from None


class Pcm:
    """`pcm`. `rate` in Hz and `channels` describe what the client sends; what it hears says so itself."""

    def __init__(self, rate: int, channels: int) -> None:
        if rate not in _RATES or channels not in range(1, 9):
            raise DataError(f"rate={rate}&channels={channels}: 4000 to 384000 Hz and 1 to 8 channels can be sent")
        self._rate = rate
        self._channels = channels
        self._frames = 0
        self._told: tuple[int, int] | None = None

    def read(self, wire: str | bytes) -> Heard:
        if isinstance(wire, str):
            return framing.parse_header(wire.encode()), None
        if len(wire) % (2 * self._channels):
            raise DataError(f"{len(wire)} bytes are no whole 16-bit samples of {self._channels} channel(s)")
        samples = np.frombuffer(wire, "<i2").astype(np.float32) / 32768
        if self._channels > 1:
            samples = samples.reshape(-1, self._channels)
        timestamp = self._frames * _NS // self._rate
        self._frames += len(samples)
        return {"op": "data"}, RuntimeData.audio(samples, self._rate, self._channels, timestamp=timestamp)

    def write(self, data: RuntimeData) -> list[str | bytes]:
        if data.type.value != "audio":
            return [self._other(data)]
        form = (data.metadata.sample_rate, data.metadata.channels)
        told, self._told = self._told, form
        head = [self.say({"op": "format", "sample_rate": form[0], "channels": form[1]})] if told != form else []
        return [*head, as_int16(data).tobytes()]

    def _other(self, data: RuntimeData) -> str:
        header = {"op": "data", "type": data.type.value, "timestamp": data.timestamp}
        if data.type.value in ("text", "json", "control"):
            header["payload"] = data.payload
        else:
            header["dropped_bytes"] = data.size()
        return self.say(header)

    def say(self, header: Mapping[str, Any]) -> str:
        return json.dumps(dict(header), separators=(",", ":"))
