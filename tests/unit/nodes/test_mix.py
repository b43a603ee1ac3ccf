"""`mix`: sounds of the same time are added, late ones awaited, later ones dropped and counted."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from ringline import DataError, RuntimeData
from ringline.testing import NodeHarness, Output
from tests.unit.nodes.sounds import NS, blocks, fed, is_continuous, joined, rms, tone


def mixer(config: dict[str, Any] | None = None, ports: tuple[str, ...] = ("a", "b")) -> NodeHarness:
    return NodeHarness("mix", {"wait_ms": 0, **(config or {})}, inputs=ports)


def level(value: float, count: int = 160, *, at_ms: int = 0, rate: int = 16000) -> RuntimeData:
    return RuntimeData.audio(np.full(count, value, np.float32), rate, timestamp=at_ms * 1_000_000)


def sound(outputs: list[Output]) -> Any:
    return joined([output.data for output in outputs])


async def test_two_inputs_are_added_as_soon_as_both_are_there() -> None:
    async with mixer() as node:
        assert await node.send(level(0.25), "a") == []
        [output] = await node.send(level(0.5), "b")
    assert output.data.as_numpy() == pytest.approx(np.full(160, 0.75))
    assert output.data.timestamp == 0


async def test_blocks_of_different_sizes_are_added_by_time() -> None:
    async with mixer() as node:
        outputs = await fed(node, blocks(np.full(1600, 0.25, np.float32), size=400), "a")
        outputs += await fed(node, blocks(np.full(1600, 0.5, np.float32), size=123), "b")
    assert sound(outputs) == pytest.approx(np.full(1600, 0.75))
    assert is_continuous([output.data for output in outputs])


async def test_an_input_that_begins_later_is_silent_until_then() -> None:
    async with mixer() as node:
        await node.send(level(0.25, 480), "a")
        outputs = await node.send(level(0.5, 160, at_ms=20), "b")
    assert sound(outputs) == pytest.approx(np.repeat([0.25, 0.25, 0.75], 160))


async def test_by_arrival_timestamps_do_not_count() -> None:
    async with mixer({"align": "arrival"}) as node:
        await node.send(level(0.25, at_ms=5000), "a")
        [output] = await node.send(level(0.5, at_ms=0), "b")
    assert output.data.as_numpy() == pytest.approx(np.full(160, 0.75))


async def test_a_late_input_is_awaited_only_so_long() -> None:
    async with mixer({"wait_ms": 20}) as node:
        await node.send(level(0.25), "a")
        output = await node.receive()
        assert output.data.as_numpy() == pytest.approx(np.full(160, 0.25))
        assert await node.send(level(0.5, 320), "b") == []
        assert node.node.metrics.snapshot()["counters"]["late_samples"] == 160
        [rest] = await node.end()
        assert (rest.data.timestamp, rest.data.as_numpy()[0]) == (10_000_000, pytest.approx(0.5))


async def test_by_arrival_a_late_input_is_played_from_then_on() -> None:
    async with mixer({"wait_ms": 20, "align": "arrival"}) as node:
        await node.send(level(0.25), "a")
        await node.receive()
        await node.send(level(0.5), "b")
        [output] = await node.end()
        assert output.data.as_numpy() == pytest.approx(np.full(160, 0.5))
        assert "late_samples" not in node.node.metrics.snapshot()["counters"]


async def test_gains_belong_to_inputs() -> None:
    async with mixer({"gains_db": {"b": -20}}) as node:
        await node.send(level(0.25), "a")
        [output] = await node.send(level(0.5), "b")
    assert output.data.as_numpy() == pytest.approx(np.full(160, 0.3))


@pytest.mark.parametrize(("clip", "most"), [(True, 1.0), (False, 1.5)])
async def test_the_sum_is_clipped_unless_told_otherwise(clip: bool, most: float) -> None:
    async with mixer({"clip": clip}) as node:
        await node.send(level(0.75), "a")
        [output] = await node.send(level(0.75), "b")
    assert output.data.as_numpy().max() == pytest.approx(most)


async def test_rates_and_channels_are_brought_together() -> None:
    stereo = np.repeat(tone(0.5, 48000)[:, None], 2, axis=1) / 2
    async with mixer() as node:
        outputs = await fed(node, blocks(tone(0.5), 16000, size=160), "a")
        outputs += await fed(node, blocks(stereo, 48000, size=480), "b")
        outputs += await node.end()
    mixed = sound(outputs)
    assert mixed.shape == (8000, 2)
    assert rms(mixed[:, 0] - tone(0.5) * 1.5) < 0.03


async def test_a_wished_rate_counts_for_all() -> None:
    async with mixer({"sample_rate": 8000}, ("a",)) as node:
        outputs = await fed(node, blocks(tone(0.5), 16000, size=160), "a")
        outputs += await node.end()
    assert len(sound(outputs)) == 4000
    assert {output.data.metadata.sample_rate for output in outputs} == {8000}


async def test_a_gap_in_one_input_is_silence() -> None:
    async with mixer(ports=("a",)) as node:
        outputs = await fed(node, [level(0.5), level(0.5, at_ms=30)], "a")
        outputs += await node.end()
    assert sound(outputs) == pytest.approx(np.repeat([0.5, 0.0, 0.0, 0.5], 160))


async def test_an_input_that_changes_its_rate_goes_on() -> None:
    async with mixer(ports=("a",)) as node:
        outputs = await fed(node, blocks(tone(0.1), 16000, size=160), "a")
        outputs += await fed(node, blocks(tone(0.1, 8000), 8000, size=80, start_ns=NS // 10), "a")
        outputs += await node.end()
    assert len(sound(outputs)) == 3200


async def test_the_end_gives_what_only_one_input_has() -> None:
    async with mixer() as node:
        await node.send(level(0.25, 320), "a")
        await node.send(level(0.5, 160), "b")
        [rest] = await node.end()
    assert rest.data.timestamp == 10_000_000
    assert rest.data.as_numpy() == pytest.approx(np.full(160, 0.25))


async def test_a_flush_forgets_everything_and_stops_the_clock() -> None:
    async with mixer({"wait_ms": 10}) as node:
        await node.send(level(0.25), "a")
        await node.flush()
        await asyncio.sleep(0.03)
        await node.send(level(0.1, at_ms=1000), "a")
        assert (await node.receive()).data.timestamp == NS


async def test_what_is_held_is_a_copy_since_blocks_go_back_to_their_sender() -> None:
    samples = np.full(160, 0.25, np.float32)
    async with mixer() as node:
        await node.send(RuntimeData.audio(samples, 16000), "a")
        samples[:] = 0.9
        [output] = await node.send(level(0.5), "b")
    assert output.data.as_numpy() == pytest.approx(np.full(160, 0.75))


async def test_other_messages_are_refused() -> None:
    async with mixer() as node:
        with pytest.raises(DataError, match="takes audio"):
            await node.send(RuntimeData.text("la la"), "a")


async def test_an_input_that_has_ended_is_silent_and_not_awaited() -> None:
    async with mixer() as node:
        await node.send(level(0.25), "a")
        outputs = await node.send(level(0.5, 320), "b")
        outputs += await node.end_input("a")
        outputs += await node.send(level(0.5, 160, at_ms=20), "b")
    assert sound(outputs) == pytest.approx(np.repeat([0.75, 0.5, 0.5], 160))


async def test_an_input_that_ended_before_its_first_sound_is_not_awaited_either() -> None:
    async with mixer() as node:
        assert await node.send(level(0.5), "b") == []
        assert sound(await node.end_input("a")) == pytest.approx(np.full(160, 0.5))
        assert len(await node.send(level(0.5, at_ms=10), "b")) == 1


async def test_the_last_sound_of_a_converted_input_is_in_the_mix() -> None:
    async with mixer({"sample_rate": 16000}) as node:
        outputs = await fed(node, blocks(tone(0.2, rate=48000, level=0.2), rate=48000, size=4800), "a")
        outputs += await node.end_input("a")
        outputs += await node.send(level(0.0, 3200), "b")
        rest = await node.end()
    assert rest == []
    assert len(sound(outputs)) == 3200
    assert rms(sound(outputs)[-160:]) == pytest.approx(rms(sound(outputs)[1600:1760]), rel=0.2)
