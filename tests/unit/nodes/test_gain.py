"""`gain`: louder or quieter, nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ringline import DataError, NodeConfigError, RuntimeData
from ringline.testing import NodeHarness

WAVE = np.array([0.1, -0.2, 0.4], np.float32)


async def scaled(config: dict[str, Any], data: RuntimeData) -> RuntimeData:
    async with NodeHarness("gain", config) as node:
        [output] = await node.send(data)
    return output.data


@pytest.mark.parametrize(
    ("config", "factor"),
    [({"gain_db": 20}, 10.0), ({"gain_db": -6.0206}, 0.5), ({"gain": -2}, -2.0), ({"gain": 0}, 0.0)],
)
async def test_samples_are_multiplied(config: dict[str, Any], factor: float) -> None:
    made = await scaled({**config, "clip": False}, RuntimeData.audio(WAVE, 8000))
    assert made.as_numpy() == pytest.approx(WAVE * factor, rel=1e-4)


async def test_all_else_stays_as_it_was() -> None:
    data = RuntimeData.audio(
        np.zeros((2, 5), np.float32), 44100, 2, layout="planar", timestamp=77, extra={"take": 3}, session_id="s"
    )
    made = await scaled({"gain_db": 6}, data)
    assert (made.timestamp, made.metadata, made.session_id) == (77, data.metadata, "s")
    assert made.as_numpy().shape == (2, 5)


async def test_floats_are_clipped_unless_told_otherwise() -> None:
    assert (await scaled({"gain": 100}, RuntimeData.audio(WAVE, 8000))).as_numpy().tolist() == [1.0, -1.0, 1.0]


async def test_integers_keep_their_type_and_range() -> None:
    made = await scaled({"gain": 2, "clip": False}, RuntimeData.audio(np.array([100, 30000, -30000], np.int16), 8000))
    assert made.as_numpy().dtype == np.int16
    assert made.as_numpy().tolist() == [200, 32767, -32768]


async def test_unsigned_samples_are_scaled_around_their_middle() -> None:
    made = await scaled({"gain": 2}, RuntimeData.audio(np.array([128, 138, 0], np.uint8), 8000))
    assert made.as_numpy().tolist() == [128, 148, 0]


@pytest.mark.parametrize("config", [{}, {"gain": 1}, {"gain_db": 0}])
async def test_a_gain_of_one_does_not_copy(config: dict[str, Any]) -> None:
    made = await scaled(config, RuntimeData.audio(WAVE, 8000))
    assert np.shares_memory(made.as_numpy(), WAVE)


async def test_nan_and_infinity_pass_like_any_number() -> None:
    made = await scaled({"gain": 0.5, "clip": False}, RuntimeData.audio(np.array([np.nan, np.inf], np.float32), 8000))
    assert np.isnan(made.as_numpy()[0])
    assert np.isinf(made.as_numpy()[1])


async def test_an_empty_block_stays_empty() -> None:
    assert (await scaled({"gain": 2}, RuntimeData.audio(np.zeros(0, np.float32), 8000))).as_numpy().size == 0


async def test_parameters_change_the_gain_while_it_runs() -> None:
    async with NodeHarness("gain", {"gain_db": 6}) as node:
        await node.parameters(gain=3, greeting="ignored: it is another node's")
        [output] = await node.send(RuntimeData.audio(WAVE, 8000))
        assert output.data.as_numpy() == pytest.approx([0.3, -0.6, 1.0])
        with pytest.raises(NodeConfigError, match="node 'node' refuses the parameters"):
            await node.parameters(gain_db=1000)
        [again] = await node.send(RuntimeData.audio(WAVE, 8000))
        assert np.array_equal(again.data.as_numpy(), output.data.as_numpy())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"gain": 1, "gain_db": 1}, "either gain_db or gain"),
        ({"gain_db": 100}, "gain_db"),
        ({"gian": 2}, "gian"),
        ({"gain": "loud"}, "gain"),
    ],
)
def test_bad_options_are_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(NodeConfigError, match=words):
        NodeHarness("gain", config)


async def test_other_messages_are_refused() -> None:
    with pytest.raises(DataError, match="node 'node' takes audio, but a message of type text came"):
        await scaled({"gain": 2}, RuntimeData.text("loud"))
    with pytest.raises(DataError, match="complex64"):
        await scaled({"gain": 2}, RuntimeData.audio(np.zeros(3, np.complex64), 8000))
