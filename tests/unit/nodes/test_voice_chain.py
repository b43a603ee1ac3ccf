"""The whole voice example, node behind node: a spoken command in, a spoken answer out."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from ringline import RuntimeData
from ringline.testing import NodeHarness, Output
from tests.unit.nodes.sounds import COMMAND, blocks, is_continuous, on, recording, rms

RULES = {"turn {state} the {room} light": "The {room} light is {state}."}


@pytest.mark.parametrize("detector", ["energy_vad", "webrtc_vad"])
async def test_a_spoken_command_is_answered_aloud(detector: str) -> None:
    answers: list[str] = []
    heard: list[str] = []
    voice: list[RuntimeData] = []
    async with AsyncExitStack() as stack:
        vad = await stack.enter_async_context(NodeHarness(detector, {"hangover_ms": 300}))
        asr = await stack.enter_async_context(NodeHarness("asr", {"grammar": "lights"}))
        answer = await stack.enter_async_context(NodeHarness("text_template", {"rules": RULES}))
        tts = await stack.enter_async_context(NodeHarness("tts", {}))

        async def hear(outputs: list[Output]) -> None:
            for speech in on(outputs, "speech"):
                for text in await asr.send(speech):
                    heard.append(text.data.as_text())
                    for reply in await answer.send(text.data):
                        answers.append(reply.data.as_text())
                        voice.extend(output.data for output in await tts.send(reply.data))

        for block in blocks(recording()):
            await hear(await vad.send(block))
        await hear(await vad.end())
    assert heard == [COMMAND]
    assert answers == ["The kitchen light is on."]
    assert is_continuous(voice)
    assert rms(voice[len(voice) // 2].as_numpy()) > 0.01
    assert voice[0].timestamp > 1_500_000_000
