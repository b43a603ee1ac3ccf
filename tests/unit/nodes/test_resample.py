"""`resample`: one continuous stream at another rate, each block at its exact time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ringline import DataError, NodeConfigError, RuntimeData
from ringline.testing import NodeHarness, Output
from tests.unit.nodes.sounds import NS, blocks, fed, is_continuous, joined, rms, silence, tone


async def converted(config: dict[str, Any], messages: Any) -> list[RuntimeData]:
    async with NodeHarness("resample", config) as node:
        outputs: list[Output] = await fed(node, messages)
        outputs += await node.end()
    return [output.data for output in outputs]


@pytest.mark.parametrize(("rate", "wanted"), [(44100, 16000), (22050, 48000), (48000, 8000), (11025, 44100)])
async def test_the_tone_stays_the_tone(rate: int, wanted: int) -> None:
    found = await converted({"sample_rate": wanted}, blocks(tone(1.0, rate), rate, size=441, start_ns=5 * NS))
    sound, expected = joined(found), tone(1.0, wanted)
    assert len(sound) == wanted
    assert rms(sound - expected) < 0.01
    assert found[0].timestamp == 5 * NS
    assert is_continuous(found)


@pytest.mark.parametrize("size", [1, 7, 160, 4096])
async def test_the_size_of_blocks_does_not_matter(size: int) -> None:
    sound = tone(0.1, 16000)
    whole = joined(await converted({"sample_rate": 24000}, [RuntimeData.audio(sound, 16000)]))
    parts = joined(await converted({"sample_rate": 24000}, blocks(sound, 16000, size=size)))
    assert whole == pytest.approx(parts, abs=1e-6)


async def test_audio_that_is_right_already_passes_without_a_copy() -> None:
    data = RuntimeData.audio(tone(0.1), 16000, timestamp=3, extra={"a": 1})
    [made] = await converted({"sample_rate": 16000}, [data])
    assert np.shares_memory(made.as_numpy(), data.as_numpy())
    assert (made.timestamp, made.metadata) == (3, data.metadata)


async def test_the_number_of_channels_can_change_alone() -> None:
    stereo = np.stack([tone(0.1), np.zeros(1600, np.float32)], axis=1)
    [made] = await converted({"sample_rate": 16000, "channels": 1}, [RuntimeData.audio(stereo, 16000)])
    assert made.as_numpy() == pytest.approx(tone(0.1) / 2)
    assert made.metadata.channels == 1


async def test_sixteen_bit_audio_stays_sixteen_bit() -> None:
    made = await converted({"sample_rate": 8000}, [RuntimeData.audio(np.full(1600, 1000, np.int16), 16000)])
    assert {item.as_numpy().dtype for item in made} == {np.dtype(np.int16)}
    assert abs(int(joined(made)[400]) - 1000) <= 2


async def test_a_new_rate_in_mid_stream_loses_nothing_and_keeps_the_time() -> None:
    messages = [
        *blocks(tone(0.5, 48000), 48000, size=480),
        *blocks(tone(0.5, 44100), 44100, size=441, start_ns=NS // 2),
    ]
    found = await converted({"sample_rate": 16000}, messages)
    assert len(joined(found)) == 16000
    assert is_continuous(found)


async def test_audio_in_the_wanted_rate_follows_what_the_filter_still_held() -> None:
    messages = [*blocks(tone(0.1, 48000), 48000, size=480), RuntimeData.audio(tone(0.1), 16000, timestamp=NS // 10)]
    found = await converted({"sample_rate": 16000}, messages)
    assert is_continuous(found)
    assert len(joined(found)) == 3200


async def test_after_a_gap_the_time_jumps_with_the_input() -> None:
    messages = [*blocks(tone(0.1, 48000), 48000, size=480), *blocks(tone(0.1, 48000), 48000, size=480, start_ns=7 * NS)]
    found = await converted({"sample_rate": 16000}, messages)
    late = [item for item in found if item.timestamp >= 7 * NS]
    assert late[0].timestamp == 7 * NS
    assert len(joined(late)) == len(joined(found)) - len(joined(late)) == 1600


async def test_a_flush_forgets_what_the_filter_held() -> None:
    async with NodeHarness("resample", {"sample_rate": 16000}) as node:
        await fed(node, blocks(tone(0.1, 48000), 48000, size=480))
        await node.flush()
        assert await node.end() == []
        found = await fed(node, blocks(silence(0.2, 48000), 48000, size=480, start_ns=NS))
        assert found[0].data.timestamp == NS
        assert np.abs(found[0].data.as_numpy()).max() < 0.01


async def test_an_empty_stream_gives_nothing() -> None:
    assert await converted({}, []) == []


async def test_bad_input_and_options_are_refused() -> None:
    with pytest.raises(DataError, match="takes audio, but a message of type json"):
        await converted({}, [RuntimeData.json({})])
    with pytest.raises(NodeConfigError, match="quality"):
        NodeHarness("resample", {"quality": "best"})
    with pytest.raises(NodeConfigError, match="sample_rate"):
        NodeHarness("resample", {"sample_rate": 0})
