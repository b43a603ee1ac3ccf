"""The voice example in a pod's programs and in a local session: the same document for its nodes, the same answer bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ringline import Pipeline, RuntimeData, Session, load_audio_file, save_audio_file
from ringline.names import PLAN_FILE
from tests.helpers.pod import TOKEN, Pod
from tests.helpers.websocket import client
from tests.integration.sessions import session_id

VOICE = Path(__file__).parents[2] / "examples" / "voice"
SILENCE_MS = 700

pytest.importorskip("pocketsphinx")
pytest.importorskip("espeakng_loader")


def blocks() -> list[RuntimeData]:
    recording = load_audio_file(VOICE / "turn-on-the-kitchen-light.wav")
    rate = recording.metadata.sample_rate
    samples = np.concatenate([recording.as_numpy(), np.zeros(rate * SILENCE_MS // 1000, np.float32)])
    size = rate // 50
    return [
        RuntimeData.audio(samples[at : at + size], rate, timestamp=at * 1_000_000_000 // rate)
        for at in range(0, len(samples), size)
    ]


async def local_answer() -> tuple[bytes, list[RuntimeData]]:
    """What the nodes were told, and what they answered."""
    answer = []
    async with Session(session_id(), Pipeline.load(VOICE / "pipeline.yaml")) as session:
        told = (session.directory / PLAN_FILE).read_bytes()
        for block in blocks():
            await session.send("microphone", block)
        await session.end("microphone")
        async for sound in session.stream("speaker"):
            answer.append(sound.copy())
            sound.release()
    return told, answer


async def pod_answer(pod: Pod) -> tuple[bytes, list[RuntimeData]]:
    answer = []
    pod.until_ready()
    told = (pod.directory / PLAN_FILE).read_bytes()
    async with client(pod.ingress_port, "/v1/inputs/microphone/outputs/speaker", TOKEN) as call:
        for block in blocks():
            await call.send(block)
        await call.say(op="end")
        header: dict[str, object] = {}
        while header.get("op") != "end":
            header, data = await call.hear()
            if data is not None:
                answer.append(data)
    return told, answer


async def test_a_pod_gives_the_same_answer_as_a_local_session(tmp_path: Path, shm_root: Path) -> None:
    told_here, answered_here = await local_answer()
    session = Session(session_id(), Pipeline.load(VOICE / "pipeline.yaml"))
    with Pod(tmp_path / "pod", shm_root / "voice", session.plan) as pod:
        told_there, answered_there = await pod_answer(pod)
        pod.until(lambda: pod.status()["phase"] == "Succeeded")
        pod.terminate()
        assert {each.process.returncode for each in pod.containers.values()} == {0}
    assert told_there == told_here
    here, there = tmp_path / "here.wav", tmp_path / "there.wav"
    save_audio_file(here, answered_here)
    save_audio_file(there, answered_there)
    assert there.read_bytes() == here.read_bytes()
    assert len(here.read_bytes()) > 50_000
