"""Sounds that the tests of audio and voice nodes make, and short ways to feed and read a node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringline import RuntimeData, load_audio_file
from ringline.testing import NodeHarness, Output

NS = 1_000_000_000
RECORDING = Path(__file__).parents[3] / "examples" / "voice" / "turn-on-the-kitchen-light.wav"
COMMAND = "turn on the kitchen light"

Samples = NDArray[Any]


def tone(seconds: float, rate: int = 16000, *, hz: float = 440.0, level: float = 0.5) -> NDArray[np.float32]:
    """A sine of shape (n,)."""
    times = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def silence(seconds: float, rate: int = 16000) -> NDArray[np.float32]:
    """Very quiet noise of shape (n,), the same each time."""
    return np.random.default_rng(1).normal(0, 1e-4, round(seconds * rate)).astype(np.float32)


def utterance(before: float = 0.5, spoken: float = 0.6, after: float = 0.6, rate: int = 16000) -> NDArray[np.float32]:
    """Silence, a loud tone that stands for speech, silence."""
    return np.concatenate([silence(before, rate), tone(spoken, rate), silence(after, rate)])


def recording(rate: int | None = None) -> Samples:
    """The spoken command of the examples, as float32."""
    return np.array(load_audio_file(RECORDING, sample_rate=rate).as_numpy())


def blocks(samples: Samples, rate: int = 16000, *, size: int = 320, start_ns: int = 0) -> Iterator[RuntimeData]:
    """Cut samples into messages of `size` frames with exact timestamps."""
    for at in range(0, len(samples), size):
        yield RuntimeData.audio(samples[at : at + size], rate, timestamp=start_ns + at * NS // rate)


async def fed(node: NodeHarness, messages: Iterable[RuntimeData], port: str | None = None) -> list[Output]:
    """Everything that the node sends for these messages."""
    return [output for message in messages for output in await node.send(message, port)]


def on(outputs: Iterable[Output], port: str) -> list[RuntimeData]:
    """The messages that left by one port."""
    return [output.data for output in outputs if output.port == port]


def joined(messages: Sequence[RuntimeData]) -> Samples:
    """All samples, one message behind the other."""
    return np.concatenate([message.as_numpy() for message in messages])


def rms(samples: Samples) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(samples.astype(np.float64)))))


def is_continuous(messages: Sequence[RuntimeData]) -> bool:
    """Whether each message begins, to the nanosecond, where the samples before it end."""
    first, count = messages[0].timestamp, 0
    for message in messages:
        rate = message.metadata.sample_rate
        if message.timestamp != first + count * NS // rate:
            return False
        count += len(message.as_numpy())
    return True
