"""Answer a recorded spoken command aloud: play a recording into the pipeline as a microphone would, and save what comes back.

Run by `python3 dev.py voice`, or by itself: `python examples/voice/run.py --help`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ringline import Pipeline, RinglineError, RuntimeData, Session, load_audio_file, save_audio_file

HERE = Path(__file__).resolve().parent
BLOCK_MS = 20
SILENCE_MS = 700
"""Sent after the recording: the voice activity detector ends an utterance by the silence that follows it."""


@dataclass
class Moments:
    """When things happened, in seconds of `time.monotonic`; `started` is the recording's first sample."""

    started: float = 0.0
    speech_end: float | None = None
    recognized: list[tuple[float, str]] = field(default_factory=list)
    first_audio: float | None = None
    answer: list[RuntimeData] = field(default_factory=list)


async def play(session: Session, recording: RuntimeData, moments: Moments, speed: float) -> None:
    """Send the recording in blocks of 20 ms, each when a microphone would have it, then end the input."""
    rate = recording.metadata.sample_rate
    samples = np.concatenate([recording.as_numpy(), np.zeros(rate * SILENCE_MS // 1000, np.float32)])
    size = rate * BLOCK_MS // 1000
    moments.started = time.monotonic()
    for position in range(0, len(samples), size):
        block = samples[position : position + size]
        due = moments.started + (position + len(block)) / rate / speed
        await asyncio.sleep(due - time.monotonic())
        timestamp = position * 1_000_000_000 // rate
        await session.send("microphone", RuntimeData.audio(block, rate, timestamp=timestamp))
    await session.end("microphone")


async def listen(session: Session, moments: Moments, speed: float) -> None:
    """Note each recognized text; it says at which media time the utterance ended."""
    async for text in session.stream("transcript"):
        moments.recognized.append((time.monotonic(), text.as_text()))
        if moments.speech_end is None:
            moments.speech_end = moments.started + text.metadata.extra["end_ns"] / 1e9 / speed


async def collect(session: Session, moments: Moments) -> None:
    """Gather the spoken answer; `copy` keeps the sound when its place in shared memory is given back."""
    async for sound in session.stream("speaker"):
        moments.first_audio = moments.first_audio or time.monotonic()
        moments.answer.append(sound.copy())
        sound.release()


def print_progress(progress: Any) -> None:
    """Print one step of a node's start; that all of them begin is no news."""
    if progress.status != "starting":
        print(f"  {progress.node_id:8} {progress.status:11} {progress.progress:4.0%} {progress.message}")


def print_time_line(moments: Moments) -> None:
    """Print what happened when, counted from the end of speech."""
    if moments.speech_end is None or moments.first_audio is None:
        return
    print("\nTime line (0 = end of speech)")
    rows = [(moments.started, "the recording begins"), (moments.speech_end, "end of speech")]
    rows += [(at, f'recognized: "{text}"') for at, text in moments.recognized]
    rows.append((moments.first_audio, "first audio of the answer"))
    for at, what in sorted(rows):
        print(f"  {(at - moments.speech_end) * 1000:+8.0f} ms  {what}")


async def print_channels(session: Session) -> None:
    """Print every channel's statistics."""
    print("\nChannels             messages       bytes   queued  dropped  blocked")
    for name, stats in (await session.get_channel_stats()).items():
        queued = f"{stats.current_occupancy}/{stats.capacity}"
        dropped = sum(stats.dropped.values())
        print(
            f"  {name:18} {stats.message_count:8} {stats.bytes_transferred:11} {queued:>8} {dropped:8} {stats.blocked_seconds:7.3f} s"
        )


async def run(options: argparse.Namespace) -> int:
    """Run the whole example; returns the exit code."""
    recording = load_audio_file(options.wav)
    session = Session(options.session, Pipeline.load(HERE / "pipeline.yaml"))
    moments = Moments()
    print("Starting")
    try:
        await session.initialize(progress_callback=print_progress)
        await session.start()
        print(f"\nSaying {options.wav.name} to it")
        await asyncio.gather(
            play(session, recording, moments, options.speed),
            listen(session, moments, options.speed),
            collect(session, moments),
        )
        await session.wait()
        print_time_line(moments)
        await print_channels(session)
    finally:
        await session.cleanup()
    if not moments.answer:
        print("\nNothing was recognized, so there is no answer.", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "answer.wav"
    save_audio_file(path, moments.answer)
    print(f"\nThe spoken answer: {path}")
    return 0


def main() -> int:
    """Read the arguments, run, and turn an error into one sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wav", type=Path, default=HERE / "turn-on-the-kitchen-light.wav", help="the spoken command")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for answer.wav (default: ./out)")
    parser.add_argument("--speed", type=float, default=1.0, help="play so many times faster than it was spoken")
    parser.add_argument("--session", default="voice-example", help="the session's id")
    try:
        return asyncio.run(run(parser.parse_args()))
    except (RinglineError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
