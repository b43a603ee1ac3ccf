"""`pocketsphinx_asr` on real speech: the recording of the voice example."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from ringline import DataError, NodeConfigError, RuntimeData
from ringline.testing import NodeHarness, Output
from tests.unit.nodes.sounds import COMMAND, NS, blocks, fed, joined, on, recording, silence


@pytest_asyncio.fixture(loop_scope="function")
async def asr() -> AsyncIterator[NodeHarness]:
    async with NodeHarness("asr", {"grammar": "lights"}, node_id="asr") as node:
        yield node


async def speech(rate: int = 16000, **config: Any) -> list[RuntimeData]:
    """What a voice activity detector makes of the recording."""
    async with NodeHarness("energy_vad", config) as vad:
        return on([*await fed(vad, blocks(recording(rate), rate, size=rate // 50)), *await vad.end()], "speech")


def texts(outputs: Iterable[Output]) -> list[str]:
    return [output.data.as_text() for output in outputs]


def again(messages: Sequence[RuntimeData], utterance: int) -> list[RuntimeData]:
    """The same speech as another utterance, three seconds later each time."""
    shift = utterance * 3 * NS
    return [
        RuntimeData.audio(
            message.as_numpy(),
            message.metadata.sample_rate,
            timestamp=message.timestamp + shift,
            extra={**message.metadata.extra, "utterance": utterance},
        )
        for message in messages
    ]


async def test_the_command_is_recognized_exactly_when_its_end_mark_comes(asr: NodeHarness) -> None:
    messages = await speech()
    assert await fed(asr, messages[:-1]) == []
    [output] = await asr.send(messages[-1])
    assert (output.port, output.data.as_text()) == ("text", COMMAND)


async def test_the_text_says_when_it_was_spoken(asr: NodeHarness) -> None:
    messages = await speech()
    [output] = await fed(asr, messages)
    facts = output.data.metadata.extra
    assert output.data.timestamp == facts["start_ns"] == messages[0].metadata.extra["start_ns"]
    assert facts["end_ns"] == messages[-1].metadata.extra["end_ns"]
    assert facts["utterance"] == 1
    assert facts["decode_ms"] > 0
    assert [word["word"] for word in facts["words"]] == COMMAND.split()
    edges = [edge for word in facts["words"] for edge in (word["start_ns"], word["end_ns"])]
    assert edges == sorted(edges)
    assert 0.3 * NS < edges[0] < edges[-1] < 2.1 * NS
    assert output.data.metadata.language == "en-US"
    assert output.data.metadata.final


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
async def test_other_rates_are_converted(asr: NodeHarness, rate: int) -> None:
    assert texts(await fed(asr, await speech(rate))) == [COMMAND]


async def test_stereo_and_sixteen_bits_are_understood(asr: NodeHarness) -> None:
    sound = (np.stack([recording(), recording()], axis=1) * 32767).astype(np.int16)
    assert texts(await asr.send(RuntimeData.audio(sound, 16000))) == [COMMAND]


async def test_sound_without_marks_is_one_utterance_per_message(asr: NodeHarness) -> None:
    outputs = [
        *await asr.send(RuntimeData.audio(recording(), 16000)),
        *await asr.send(RuntimeData.audio(recording(), 16000)),
    ]
    assert texts(outputs) == [COMMAND] * 2
    assert [output.data.metadata.extra["utterance"] for output in outputs] == [1, 2]


async def test_whole_segments_are_recognized_too(asr: NodeHarness) -> None:
    [segment] = await speech(output="segments")
    assert texts(await asr.send(segment)) == [COMMAND]


async def test_ten_utterances_are_all_the_same(asr: NodeHarness) -> None:
    messages = await speech()
    assert (
        texts([output for number in range(10) for output in await fed(asr, again(messages, number))]) == [COMMAND] * 10
    )


async def test_an_utterance_whose_end_was_lost_ends_with_the_next_one(asr: NodeHarness) -> None:
    messages = await speech()
    outputs = await fed(asr, [*again(messages[:-1], 1), *again(messages, 2)])
    assert [(output.data.as_text(), output.data.metadata.extra["utterance"]) for output in outputs] == [
        (COMMAND, 1),
        (COMMAND, 2),
    ]


async def test_the_end_of_the_input_ends_the_utterance(asr: NodeHarness) -> None:
    await fed(asr, (await speech())[:-1])
    assert texts(await asr.end()) == [COMMAND]
    assert await asr.end() == []


async def test_a_flush_forgets_the_utterance(asr: NodeHarness) -> None:
    messages = await speech()
    await fed(asr, messages[:-1])
    await asr.flush()
    assert await asr.end() == []
    assert texts(await fed(asr, again(messages, 2))) == [COMMAND]


async def test_a_new_rate_within_an_utterance_is_taken(asr: NodeHarness) -> None:
    first, second = await speech(), await speech(48000)
    half = len(first) // 2
    cut = first[half].timestamp
    rest = [message for message in second if message.timestamp >= cut]
    assert texts(await fed(asr, [*first[:half], *rest])) == [COMMAND]


async def test_noise_is_not_recognized_and_counted(asr: NodeHarness) -> None:
    assert await asr.send(RuntimeData.audio(silence(1.0), 16000)) == []
    assert asr.node.metrics.snapshot()["counters"]["unrecognized"] == 1


async def test_loading_is_reported(asr: NodeHarness) -> None:
    assert asr.progress_reports[0].message == "loading the acoustic model"
    assert [report.fraction for report in asr.progress_reports] == sorted(
        report.fraction for report in asr.progress_reports
    )


async def test_bad_input_is_refused(asr: NodeHarness) -> None:
    with pytest.raises(DataError, match="node 'asr' takes audio, but a message of type text came"):
        await asr.send(RuntimeData.text(COMMAND))


async def test_phrases_do_as_well_as_a_grammar() -> None:
    async with NodeHarness("pocketsphinx_asr", {"phrases": ["Turn on the kitchen light.", "stop the music"]}) as node:
        assert texts(await node.send(RuntimeData.audio(recording(), 16000))) == [COMMAND]


async def test_a_keyword_is_sent_as_soon_as_it_was_said() -> None:
    async with NodeHarness("asr", {"keywords": ["kitchen light"], "keyword_threshold": 1e-20}) as node:
        messages = await speech()
        before_the_end = await fed(node, messages[:-1])
        assert texts(before_the_end) == ["kitchen light"]
        assert texts(await node.send(messages[-1])) == []
        [word] = before_the_end[0].data.metadata.extra["words"]
        assert word["word"] == "kitchen light"


async def test_partial_results_grow_and_are_marked() -> None:
    async with NodeHarness("asr", {"grammar": "lights", "partials": True}) as node:
        outputs = await fed(node, await speech())
    *partials, final = outputs
    assert texts(partials)[-1] == COMMAND
    assert len(set(texts(partials))) > 1
    assert {output.data.metadata.final for output in partials} == {False}
    assert final.data.metadata.final
    assert final.data.as_text() == COMMAND


async def test_what_fits_nothing_can_be_reported_as_an_empty_text() -> None:
    async with NodeHarness("asr", {"grammar": "lights", "report_unrecognized": True}) as node:
        [output] = await node.send(RuntimeData.audio(silence(1.0), 16000))
    assert output.data.as_text() == ""


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"grammar": "lights", "keywords": ["stop"]},
        {"phrases": []},
        {"grammar": "lights", "keyword_threshold": 0},
        {"model": "base"},
    ],
)
def test_bad_options_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(NodeConfigError, match=r"node 'node' \(pocketsphinx_asr\) refuses its configuration"):
        NodeHarness("asr", config)


async def test_a_grammar_that_does_not_exist_is_found_when_the_node_starts() -> None:
    with pytest.raises(NodeConfigError, match="grammar 'lamps' is none of the packaged ones"):
        async with NodeHarness("asr", {"grammar": "lamps"}):
            pass


async def test_the_recording_is_what_its_readme_says() -> None:
    sound = recording()
    assert len(sound) == round(2.59 * 16000)
    assert np.abs(sound[:4800]).max() < 0.005
    assert np.abs(joined(list(blocks(sound)))[6000:28000]).max() > 0.3
