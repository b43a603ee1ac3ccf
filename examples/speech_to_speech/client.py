"""Speech to speech in one call: an audio file in, the spoken answer out.

    cd examples/speech_to_speech
    python client.py ../voice/turn-on-the-kitchen-light.wav answer.wav

The node types are found in `nodes/`, which `runtime.toml` in this folder names.
"""

import asyncio
import sys
from typing import Any

from ringline import Pipeline, Session, load_audio_file, save_audio_file


async def main(question: str, answer: str) -> None:
    """Send a recording to a session and save what it answers."""
    # Create pipeline with multiple Python nodes
    pipeline = (
        Pipeline()
        .add_node("whisper", "asr", {"model": "base", "language": "en"})
        .add_node("lfm2_audio", "s2s", {"model": "large", "device": "cpu"})
        .add_node("vibe_voice", "tts", {"voice": "sarah", "rate": 1.0})
        .connect("asr", "text", "s2s", "input")
        .connect("s2s", "output", "tts", "input")
    )

    # Create session (spawns processes)
    session = Session("session_123", pipeline)

    # Track initialization progress
    def on_progress(progress: Any) -> None:
        print(f"{progress.node_id}: {progress.status} ({progress.progress:.0%})")

    await session.initialize(progress_callback=on_progress)

    # Start processing
    await session.start()

    # Send audio data
    audio = load_audio_file(question)
    await session.send("asr", audio)

    # Get result
    result = await session.receive("tts")
    save_audio_file(answer, result)
    print(f"{result.size()} bytes of speech in {answer}")

    # Look at a channel
    stats = await session.get_channel_stats("asr_to_s2s")
    print(f"asr_to_s2s: {stats.message_count} messages, {stats.bytes_transferred} bytes")

    # Cleanup (terminates all processes)
    await session.cleanup()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
