"""`level_meter`: how loud it is, in reports of equal length."""

from __future__ import annotations

import numpy as np
import pytest

from ringline import DataError, RuntimeData
from ringline.testing import NodeHarness
from tests.unit.nodes.sounds import NS, blocks, fed, on, tone


async def test_a_sine_is_three_decibels_below_its_peak() -> None:
    async with NodeHarness("level_meter", {"interval_ms": 100}) as node:
        outputs = await fed(node, blocks(tone(0.5, level=0.5), start_ns=NS))
    reports = on(outputs, "levels")
    assert [report.timestamp for report in reports] == [NS + step * NS // 10 for step in range(5)]
    assert reports[0].as_json() == {
        "rms_db": pytest.approx(-9.03, abs=0.05),
        "peak_db": pytest.approx(-6.02, abs=0.05),
        "clipped": 0,
        "channels": [{"rms_db": pytest.approx(-9.03, abs=0.05), "peak_db": pytest.approx(-6.02, abs=0.05)}],
        "duration_ms": 100.0,
    }


async def test_the_audio_passes_without_a_copy() -> None:
    data = RuntimeData.audio(tone(0.02), 16000, timestamp=9)
    async with NodeHarness("level_meter") as node:
        [passed] = on(await node.send(data), "audio")
    assert np.shares_memory(passed.as_numpy(), data.as_numpy())
    assert passed.timestamp == 9


async def test_the_end_reports_what_is_left() -> None:
    async with NodeHarness("level_meter", {"interval_ms": 100}) as node:
        await fed(node, blocks(tone(0.15)))
        [rest] = on(await node.end(), "levels")
        assert rest.as_json()["duration_ms"] == 50.0
        assert await node.end() == []


async def test_one_long_block_makes_several_reports() -> None:
    async with NodeHarness("level_meter", {"interval_ms": 50}) as node:
        reports = on(await node.send(RuntimeData.audio(tone(0.2), 16000)), "levels")
    assert [report.timestamp for report in reports] == [0, 50_000_000, 100_000_000, 150_000_000]


async def test_channels_are_measured_each_and_together() -> None:
    stereo = np.stack([np.full(1600, 1.0, np.float32), np.zeros(1600, np.float32)], axis=1)
    async with NodeHarness("level_meter") as node:
        [report] = on(await node.send(RuntimeData.audio(stereo, 16000)), "levels")
    value = report.as_json()
    assert value["channels"] == [{"rms_db": 0.0, "peak_db": 0.0}, {"rms_db": -120.0, "peak_db": -120.0}]
    assert value["rms_db"] == pytest.approx(-3.01)
    assert value["clipped"] == 1600


async def test_a_new_rate_or_a_flush_begins_a_new_report() -> None:
    async with NodeHarness("level_meter", {"interval_ms": 100}) as node:
        await fed(node, blocks(tone(0.05)))
        [short] = on(await node.send(RuntimeData.audio(tone(0.02, 8000), 8000, timestamp=NS)), "levels")
        assert short.as_json()["duration_ms"] == 50.0
        await node.flush()
        assert await node.end() == []


async def test_nan_counts_as_silence_and_infinity_as_clipped() -> None:
    async with NodeHarness("level_meter") as node:
        await node.send(RuntimeData.audio(np.array([np.nan, np.inf, -np.inf, 0], np.float32), 16000))
        [report] = on(await node.end(), "levels")
    assert (report.as_json()["clipped"], report.as_json()["peak_db"]) == (2, 0.0)


async def test_an_empty_block_is_no_report_and_no_error() -> None:
    async with NodeHarness("level_meter") as node:
        assert on(await node.send(RuntimeData.audio(np.zeros(0, np.float32), 16000)), "levels") == []
        with pytest.raises(DataError, match="takes audio"):
            await node.send(RuntimeData.text("loud"))
