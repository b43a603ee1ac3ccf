"""End of speech to the first audio of the answer, in the voice example with its recognizer and its synthesizer.

The recording is played at the pace of speech. The time includes the voice activity detector's hangover (300 ms by choice).
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
from collections.abc import Iterator
from types import ModuleType

from benchmarks.rows import Bar, Row
from benchmarks.sessions import ROOT
from ringline import Pipeline, Session, load_audio_file

EXAMPLE = ROOT / "examples" / "voice"
NEEDS = ("pocketsphinx", "espeakng_loader")


def measure(*, quick: bool) -> Iterator[Row]:
    name = "end of speech to first audio of the answer"
    missing = [module for module in NEEDS if importlib.util.find_spec(module) is None]
    if missing:
        yield Row(name, "ms", skipped=f"{', '.join(missing)} not installed; pip install 'ringline[voice]'")
        return
    answers: list[float] = []
    texts: list[float] = []
    for number in range(1 if quick else 8):
        moments = asyncio.run(_call(_example(), number))
        answers.append((moments.first_audio - moments.speech_end) * 1e3)
        texts.append((moments.recognized[0][0] - moments.speech_end) * 1e3)
    yield Row("end of speech to recognized text", "ms", texts)
    yield Row(name, "ms", answers, Bar(500.0, "500 ms", "max"))


def _example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("voice_example", EXAMPLE / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses with deferred annotations look their module up by name.
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


async def _call(example: ModuleType, number: int) -> argparse.Namespace:
    recording = load_audio_file(EXAMPLE / "turn-on-the-kitchen-light.wav")
    moments = example.Moments()
    session = Session(
        f"bench-voice-{os.getpid()}-{number}", Pipeline.load(EXAMPLE / "pipeline.yaml"), log_callback=lambda *_: None
    )
    try:
        await session.initialize()
        await session.start()
        await asyncio.gather(
            example.play(session, recording, moments, 1.0),
            example.listen(session, moments, 1.0),
            example.collect(session, moments),
        )
    finally:
        await session.cleanup()
    return moments  # type: ignore[no-any-return]
