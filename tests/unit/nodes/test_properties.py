"""Properties of nodes over all inputs that hypothesis can think of, compared with a plain reference."""

from __future__ import annotations

import inspect
import itertools
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringline import RuntimeData
from ringline.node.catalog import box_classes
from ringline.nodes.audio.level_meter import LevelMeter
from ringline.nodes.audio.mix import Mix
from ringline.nodes.audio.samples import NS
from ringline.nodes.audio.tone_source import ToneSource
from ringline.nodes.generic.batch import Batch
from ringline.nodes.generic.join import Join
from ringline.nodes.generic.throttle import Throttle
from ringline.nodes.waiting import WaitingNode

CLASSES = box_classes()
CUTS = st.lists(st.integers(1, 400), min_size=1, max_size=8)
RATE = 8000


def prepared(node: WaitingNode, ports: tuple[str, ...]) -> None:
    """As `initialize` does, without an event loop: `take` and `due` are plain functions of time."""
    node.input_ports = ports
    node.forget()


def cut(port: str, sound: np.ndarray[Any, Any], sizes: list[int]) -> list[RuntimeData]:
    """A port's sound in blocks of these sizes, then the rest."""
    edges = [0, *np.minimum(np.cumsum(sizes), len(sound)).tolist(), len(sound)]
    return [
        RuntimeData.audio(sound[low:high], RATE, timestamp=NS + low * NS // RATE).with_(port=port)
        for low, high in itertools.pairwise(edges)
    ]


@given(cuts=st.lists(CUTS, min_size=1, max_size=4), seed=st.integers(0, 10**6))
def test_a_mix_is_the_sum_however_blocks_are_cut_and_interleaved(cuts: list[list[int]], seed: int) -> None:
    chance = random.Random(seed)
    ports = tuple("abcd"[: len(cuts)])
    sounds = {
        port: np.random.default_rng(seed + number).uniform(-0.2, 0.2, 1000).astype(np.float32)
        for number, port in enumerate(ports)
    }
    waiting = {port: cut(port, sounds[port], sizes) for port, sizes in zip(ports, cuts, strict=True)}
    node = Mix("mix", {"wait_ms": 0})
    prepared(node, ports)
    made: list[RuntimeData] = []
    # The output's time begins with the first message, so all begin with one.
    for port in ports:
        node.take(waiting[port].pop(0), 0.0)
    while any(waiting.values()):
        port = chance.choice([port for port, blocks in waiting.items() if blocks])
        node.take(waiting[port].pop(0), 0.0)
        made += [data for _, data in node.due(0.0, ending=False)]
    made += [data for _, data in node.due(0.0, ending=True)]
    total = np.concatenate([data.as_numpy() for data in made])
    assert np.allclose(total, sum(sounds.values()), atol=1e-6)
    starts = [NS + at * NS // RATE for at in np.cumsum([0, *(len(data.as_numpy()) for data in made)])[:-1].tolist()]
    assert [data.timestamp for data in made] == starts


@given(here=st.sets(st.integers(0, 30)), there=st.sets(st.integers(0, 30)), seed=st.integers(0, 10**6))
def test_a_join_finds_exactly_the_times_that_both_inputs_have(here: set[int], there: set[int], seed: int) -> None:
    chance = random.Random(seed)
    waiting = {"a": sorted(here), "b": sorted(there)}
    node = Join("join", {"wait_ms": 0})
    prepared(node, ("a", "b"))
    node._tolerance_ns = 0
    found: list[int] = []
    while any(waiting.values()):
        port = chance.choice([port for port, times in waiting.items() if times])
        time = waiting[port].pop(0)
        node.take(RuntimeData.text(port, timestamp=time).with_(port=port), 0.0)
        found += [data.timestamp for _, data in node.due(0.0, ending=False)]
    found += [data.timestamp for _, data in node.due(0.0, ending=True)]
    assert found == sorted(here & there)


@given(kinds=st.lists(st.sampled_from(["text", "small", "large", "double"]), max_size=40), most=st.integers(1, 6))
def test_batches_keep_every_item_in_order_and_hold_one_kind_each(kinds: list[str], most: int) -> None:
    shapes = {"small": np.zeros(2, np.float32), "large": np.zeros(3, np.float32), "double": np.zeros(2)}
    node = Batch("batch", {"max_items": most, "max_wait_ms": 0})
    prepared(node, ("input",))
    for number, kind in enumerate(kinds):
        node.take(
            RuntimeData.text("x", timestamp=number)
            if kind == "text"
            else RuntimeData.tensor(shapes[kind], timestamp=number),
            0.0,
        )
    sizes: list[int] = []
    for _, data in node.due(0.0, ending=True):
        batch = data.as_json() if data.type == "json" else data.as_numpy()
        begin = sum(sizes)
        assert data.timestamp == begin
        assert len(set(kinds[begin : begin + len(batch)])) == 1
        sizes.append(len(batch))
    assert sum(sizes) == len(kinds)
    assert max(sizes, default=0) <= most


@given(steps=st.lists(st.integers(0, 500), max_size=60), limit=st.floats(0.5, 50))
def test_throttled_messages_never_exceed_the_rate_by_more_than_one(steps: list[int], limit: float) -> None:
    node = Throttle("ten", {"max_per_s": limit})
    node.initialize()
    times = np.cumsum(steps, dtype=np.int64) * 1_000_000
    passed = [time for time in times.tolist() if node.process(RuntimeData.text("", timestamp=time)) is not None]
    if passed:
        seconds = (passed[-1] - passed[0]) / NS
        assert len(passed) <= seconds * limit + 2
        assert passed[0] == times[0]


@given(cuts=CUTS, interval=st.integers(1, 60))
def test_levels_do_not_depend_on_how_blocks_are_cut(cuts: list[int], interval: int) -> None:
    sound = np.random.default_rng(3).uniform(-1, 1, 1600).astype(np.float32)

    def reports(messages: list[RuntimeData]) -> list[Any]:
        node = LevelMeter("meter", {"interval_ms": interval})
        node.initialize()
        outputs = [output for message in messages for output in node.process(message)] + list(node.on_end())
        return [(output["levels"].timestamp, output["levels"].as_json()) for output in outputs if "levels" in output]

    assert reports(cut("audio", sound, cuts)) == reports(cut("audio", sound, [1600]))


@settings(max_examples=30)
@given(block=st.integers(1, 200), rate=st.sampled_from([8000, 11025, 44100]), hz=st.floats(0, 3000))
def test_a_tone_is_the_same_wave_in_blocks_of_every_size(block: int, rate: int, hz: float) -> None:
    node = ToneSource("tone", {"frequency_hz": hz, "sample_rate": rate, "level_db": 0})
    size = rate * block // 1000 + 1
    whole = node._tone(0, 3 * size)
    parts = np.concatenate([node._tone(number * size, size) for number in range(3)])
    assert np.allclose(whole, parts, atol=1e-6)


def test_a_tone_is_exact_after_a_day() -> None:
    node = ToneSource("tone", {"frequency_hz": 440, "sample_rate": 48000, "level_db": 0})
    assert np.allclose(node._tone(24 * 3600 * 48000, 480), node._tone(0, 480), atol=1e-4)


OPTIONS: dict[str, dict[str, Any]] = {
    "agent_pool": {"agents": [{"id": "a1", "agent": "walker:Walker"}]},
    "audio_file_source": {"path": "a.wav"},
    "audio_file_sink": {"path": "a.wav"},
    "video_file_source": {"path": "a.mp4"},
    "video_file_sink": {"path": "a.mp4"},
    "pocketsphinx_asr": {"grammar": "lights"},
    "text_match": {"rules": [{"intent": "a", "phrase": "b"}]},
    "throttle": {"max_per_s": 1},
}


@pytest.mark.parametrize("name", sorted(CLASSES))
async def test_cleanup_does_no_harm_before_initialize_and_twice(name: str) -> None:
    node = CLASSES[name](name, OPTIONS.get(name))
    for _ in range(2):
        done = node.cleanup()
        if inspect.isawaitable(done):
            await done


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_defaults_fit_the_schema_and_are_offered_to_the_node(name: str) -> None:
    node = CLASSES[name](name, OPTIONS.get(name))
    assert node.options is not None
    assert set(node.config) == set(type(node.options).model_fields)
    again = CLASSES[name](name, node.config)
    assert again.options == node.options
