"""The quick start guide's Python, word for word: only its packages are called `ringline`, and one import line is added.

The guide's other snippets are Rust; what they show has the same names in Python, and is shown here in the same order.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringline import (
    MultiprocessConfig,
    MultiprocessExecutor,
    Pipeline,
    ProcessCrashError,
    Runtime,
    RuntimeData,
    Session,
    load_audio_file,
)
from tests.helpers.tree import ROOT

EXAMPLE = ROOT / "examples" / "speech_to_speech"
UTTERANCE = ROOT / "examples" / "voice" / "turn-on-the-kitchen-light.wav"

GUIDE_NODE = '''
# nodes/my_audio_processor.py
from remotemedia.core.multiprocessing import MultiprocessNode, register_node
from remotemedia.core.data import RuntimeData, DataType, AudioMetadata
import numpy as np

@register_node("audio_processor")
class AudioProcessorNode(MultiprocessNode):
    """Example audio processing node."""

    async def initialize(self):
        """Load models or resources."""
        print(f"Initializing {self.node_id}")
        # Load any ML models, initialize resources
        self.sample_rate = self.config.get("sample_rate", 24000)

    async def process(self, data: RuntimeData) -> RuntimeData:
        """Process audio data."""
        if data.type == DataType.AUDIO:
            # Get audio as numpy array (zero-copy)
            audio = data.as_numpy()

            # Process audio (example: amplify)
            processed = audio * 1.5

            # Return processed data
            return RuntimeData(
                type=DataType.AUDIO,
                payload=processed,
                session_id=data.session_id,
                timestamp=data.timestamp,
                metadata=AudioMetadata(
                    sample_rate=self.sample_rate,
                    channels=1,
                    format="f32"
                )
            )
        return None

    async def cleanup(self):
        """Clean up resources."""
        print(f"Cleaning up {self.node_id}")
'''

GUIDE_CLIENT = """
# client.py
import asyncio
from remotemedia.core.multiprocessing import Session, Pipeline

async def main():
    # Create pipeline with multiple Python nodes
    pipeline = (Pipeline()
        .add_node("whisper", "asr", {"model": "base"})
        .add_node("lfm2_audio", "s2s", {"model": "large"})
        .add_node("vibe_voice", "tts", {"voice": "sarah"})
        .connect("asr", "text", "s2s", "input")
        .connect("s2s", "output", "tts", "input"))

    # Create session (spawns processes)
    session = Session("session_123", pipeline)

    # Track initialization progress
    def on_progress(progress):
        print(f"{progress.node_id}: {progress.status} ({progress.progress:.0%})")

    await session.initialize(progress_callback=on_progress)

    # Start processing
    await session.start()

    # Send audio data
    audio = load_audio_file("input.wav")
    await session.send("asr", audio)

    # Get result
    result = await session.receive("tts")
    save_audio_file("output.wav", result)

    # Cleanup (terminates all processes)
    await session.cleanup()

asyncio.run(main())
"""

GUIDE_SETTINGS = """
# runtime.toml
[multiprocess]
max_processes_per_session = 10  # None for unlimited
channel_capacity = 100           # Messages per channel
init_timeout_secs = 30          # Node initialization timeout
cleanup_grace_period_secs = 5   # Graceful shutdown time
enable_backpressure = true      # Block on full channels
shm_segment_size = 268435456    # 256MB shared memory

[multiprocess.python]
executable = "python"            # Python interpreter path
venv_path = ".venv"             # Optional virtualenv
extra_paths = ["./nodes"]       # Additional Python paths
"""


def ours(text: str) -> str:
    return text.replace("remotemedia.core.multiprocessing", "ringline").replace("remotemedia.core.data", "ringline")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a project folder as the guide describes it."""
    shutil.copytree(EXAMPLE / "nodes", tmp_path / "nodes", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "nodes" / "my_audio_processor.py").write_text(ours(GUIDE_NODE))
    (tmp_path / "runtime.toml").write_text(GUIDE_SETTINGS)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shutil.copy(UTTERANCE, tmp_path / "input.wav")
    return tmp_path


def test_the_guides_client_runs_as_it_is_written(folder: Path) -> None:
    helpers = "from ringline import load_audio_file, save_audio_file\n"
    (folder / "client.py").write_text(helpers + ours(GUIDE_CLIENT))
    done = subprocess.run(
        [sys.executable, "client.py"], cwd=folder, env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for node in ("asr", "s2s", "tts"):
        assert f"{node}: ready (100%)" in done.stdout
    assert load_audio_file(folder / "output.wav").as_numpy().size > 10_000


async def test_the_guides_node_amplifies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    lines: list[tuple[str, str]] = []
    session = Session(
        "guide-node",
        Pipeline().add_node("audio_processor", "loud", {"sample_rate": 16000}),
        log_callback=lambda node, _stream, line: lines.append((node, line)),
    )
    async with session:
        await session.send("loud", RuntimeData.audio([0.5, -0.5], 16000, timestamp=7))
        result = await session.receive("loud")
        np.testing.assert_allclose(result.as_numpy(), [0.75, -0.75])
        assert (result.metadata.sample_rate, result.timestamp, result.size()) == (16000, 7, 8)
    assert ("loud", "Initializing loud") in lines
    assert ("loud", "Cleaning up loud") in lines


@pytest.fixture
async def runtime(folder: Path) -> AsyncIterator[Runtime]:
    """Return the runtime of the guide's first snippet, started."""
    config = MultiprocessConfig(
        max_processes_per_session=10,
        channel_capacity=100,
        init_timeout_secs=30,
        python_executable="python",
        enable_backpressure=True,
        extra_paths=(str(folder / "nodes"),),
    )
    made = await Runtime.builder().register_executor("python", MultiprocessExecutor(config)).build()
    await made.start()
    yield made
    await made.shutdown()


def pipeline() -> Pipeline:
    """Return the graph of the guide's Rust part, with its ids, ports and configuration."""
    return (
        Pipeline.builder()
        .add_node("whisper", "asr", {"model": "base", "language": "en"})
        .with_executor("python")
        .add_node("lfm2_audio", "s2s", {"model": "large", "device": "cuda"})
        .with_executor("python")
        .add_node("vibe_voice", "tts", {"voice": "sarah", "rate": 1.0})
        .with_executor("python")
        .connect("asr", "text_out", "s2s", "text_in")
        .connect("s2s", "audio_out", "tts", "audio_in")
        .build()
    )


async def test_the_guides_rust_part_has_the_same_names_in_python(runtime: Runtime) -> None:
    session = await runtime.create_session("session_123", pipeline())
    await session.send_input("asr", load_audio_file(UTTERANCE))
    output = await session.receive_output("tts")
    assert output.size() == output.as_numpy().nbytes > 10_000

    status = await session.get_status()
    assert {name: node.state for name, node in status.nodes.items()} == dict.fromkeys(("asr", "s2s", "tts"), "running")
    metrics = await session.get_metrics()
    assert metrics.process_count == 3
    assert metrics.memory_mb > 0
    stats = await session.get_channel_stats("asr_to_s2s")
    assert (stats.message_count, stats.current_occupancy, stats.capacity) == (1, 0, 100)
    assert 20 < stats.bytes_transferred < 40  # "turn on the kitchen light", or "lights"


async def test_a_crash_reaches_the_handler_and_ends_the_pipeline(runtime: Runtime) -> None:
    events: list[Any] = []
    runtime.on_process_crash(events.append)
    session = await runtime.create_session("session_123", pipeline())
    pid = (await session.get_status()).nodes["tts"].pid
    assert pid is not None
    os.kill(pid, 9)
    with pytest.raises(ProcessCrashError, match="Node 'tts' exited with code 137"):
        await session.receive_output("tts", timeout=60)
    assert [(event.node_id, event.exit_code) for event in events] == [("tts", 137)]
