"""Video sources and the file sink."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringline import DataError, NodeConfigError, RuntimeData
from ringline.data import video_frames
from ringline.testing import NodeHarness
from tests.unit.nodes.pictures import MS, pattern, plain, shot
from tests.unit.nodes.sounds import NS, fed


async def write(path: Path, *messages: RuntimeData, **config: Any) -> None:
    async with NodeHarness("video_file_sink", {"path": str(path), **config}) as node:
        await fed(node, messages)
        await node.end()


async def read_back(path: Path, count: int | None = None, **config: Any) -> list[RuntimeData]:
    async with NodeHarness("video_file_source", {"path": str(path), "pace": "fast", **config}) as node:
        return [output.data for output in await node.collect(count)]


@pytest.mark.parametrize("kind", ["square", "ball", "face"])
async def test_what_moves_is_where_the_picture_says(kind: str) -> None:
    for data in await pattern(20, pattern=kind, width=160, height=120, size=40, speed=300):
        x, y, w, h = data.metadata.extra["box"]
        picture = data.as_numpy()
        assert picture[y : y + h, x : x + w].mean() > 100
        outside = picture.copy()
        outside[y : y + h, x : x + w] = 40
        assert (outside == 40).all()


async def test_patterns_have_exact_times_numbers_and_rates() -> None:
    found = await pattern(60, fps=60, width=32, height=32)
    assert [data.timestamp for data in found] == [round(number * NS / 60) for number in range(60)]
    assert [data.metadata.extra["frame"] for data in found] == list(range(60))
    assert {(data.metadata.fps, data.metadata.width, data.metadata.height, data.metadata.format) for data in found} == {
        (60.0, 32, 32, "bgr24")
    }


async def test_patterns_are_the_same_each_time_and_bounce() -> None:
    first, second = [await pattern(90, width=64, height=64, speed=300) for _ in range(2)]
    assert all(np.array_equal(a.as_numpy(), b.as_numpy()) for a, b in zip(first, second, strict=True))
    places = [data.metadata.extra["box"][0] for data in first]
    assert (min(places), max(places)) == (0, 48)
    assert places[:3] == sorted(places[:3])


async def test_each_picture_is_its_own_memory() -> None:
    first, second = await pattern(2, width=32, height=32)
    assert not np.shares_memory(first.as_numpy(), second.as_numpy())


async def test_something_as_large_as_the_picture_stays_in_it() -> None:
    [data] = await pattern(1, width=32, height=64, size=500)
    assert data.metadata.extra["box"] == [0, 0, 32, 32]


async def test_realtime_pictures_come_at_their_rate() -> None:
    started = time.monotonic()
    await pattern(5, fps=50, width=32, height=32, pace="realtime")
    assert time.monotonic() - started >= 0.07


async def test_what_the_sink_wrote_the_source_reads(tmp_path: Path) -> None:
    made = await pattern(30, fps=30, width=160, height=120)
    await write(tmp_path / "a.mp4", *made)
    found = await read_back(tmp_path / "a.mp4")
    assert len(found) == 30
    for before, after in zip(made, found, strict=True):
        assert abs(after.timestamp - before.timestamp) <= MS
        assert np.abs(after.as_numpy().astype(int) - before.as_numpy()).mean() < 6
    assert [data.timestamp for data in await read_back(tmp_path / "a.mp4", max_frames=3)] == [
        data.timestamp for data in found[:3]
    ]


async def test_grey_pictures_can_be_had(tmp_path: Path) -> None:
    await write(tmp_path / "a.mkv", *await pattern(2, width=64, height=48))
    found = await read_back(tmp_path / "a.mkv", format="gray")
    assert found[0].as_numpy().shape == (48, 64)
    assert found[0].metadata.format == "gray"


async def test_a_loop_goes_on_in_time(tmp_path: Path) -> None:
    await write(tmp_path / "a.mp4", *await pattern(3, fps=25, width=64, height=48))
    found = await read_back(tmp_path / "a.mp4", 7, loop=True)
    steps = np.diff([data.timestamp for data in found])
    assert steps == pytest.approx([40 * MS] * 6, abs=MS)


async def test_pictures_of_other_sizes_and_formats_are_fitted(tmp_path: Path) -> None:
    grey = RuntimeData.video(plain(64, 48, 90)[:, :, 0], timestamp=40 * MS)
    await write(tmp_path / "a.mkv", shot(plain(65, 49, 90)), grey, shot(plain(128, 96, 90), 80))
    found = list(video_frames(tmp_path / "a.mkv"))
    assert [data.as_numpy().shape for data in found] == [(48, 64, 3)] * 3
    assert all(abs(int(data.as_numpy().mean()) - 90) < 4 for data in found)


async def test_pictures_without_times_follow_at_the_rate(tmp_path: Path) -> None:
    await write(tmp_path / "a.mkv", *[shot(plain())] * 4, fps=10)
    assert [data.timestamp // MS for data in video_frames(tmp_path / "a.mkv")] == [0, 100, 200, 300]


async def test_nothing_written_is_no_file(tmp_path: Path) -> None:
    await write(tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["", "nowhere/a.mp4"])
async def test_a_sink_without_a_place_says_so_before_it_starts(tmp_path: Path, place: str) -> None:
    with pytest.raises(NodeConfigError, match="name a file in a folder that exists"):
        await write(tmp_path / place)


async def test_a_codec_or_a_message_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nonsense"):
        await write(tmp_path / "a.mp4", shot(plain()), codec="nonsense")
    with pytest.raises(DataError, match="takes video, but a message of type audio came"):
        await write(tmp_path / "b.mp4", RuntimeData.audio([0.0], 8000))


async def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NodeConfigError, match="there is no such file"):
        await read_back(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_bytes(b"no pictures")
    with pytest.raises(DataError, match="can't be read as video"):
        await read_back(tmp_path / "a.mp4")


@pytest.mark.parametrize("config", [{"width": 33}, {"fps": 0}, {"pattern": "cube"}, {"height": 0}])
def test_bad_options_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(NodeConfigError, match=next(iter(config))):
        NodeHarness("video_pattern_source", config)
