"""Video files: pictures with their times, out and in again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from ringline.data.runtime_data import RuntimeData
from ringline.data.types import VideoMetadata
from ringline.data.video import VideoWriter, video_frames
from ringline.errors import DataError

pytest.importorskip("av")

FRAME_NS = 40_000_000


def picture(shade: int, timestamp: int = 0, size: tuple[int, int] = (48, 64)) -> RuntimeData:
    return RuntimeData.video(np.full((*size, 3), shade, np.uint8), fps=25, timestamp=timestamp)


def clip(path: Path, count: int = 5) -> Path:
    with VideoWriter(path, fps=25) as writer:
        for number in range(count):
            writer.write(picture(20 + 40 * number, number * FRAME_NS))
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_pictures_come_back_in_order_with_their_times(tmp_path: Path, name: str) -> None:
    frames = list(video_frames(clip(tmp_path / name)))
    assert [frame.timestamp // 1_000_000 for frame in frames] == [0, 40, 80, 120, 160]
    assert [round(float(frame.as_numpy().mean()) / 20) for frame in frames] == [1, 3, 5, 7, 9]
    assert (frames[0].metadata.width, frames[0].metadata.height, frames[0].metadata.format) == (64, 48, "bgr24")


def test_pictures_come_in_the_format_that_is_asked_for(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 1)
    assert [frame.as_numpy().shape for frame in video_frames(path, format="gray")] == [(48, 64)]
    with pytest.raises(DataError, match="format 'smell'"):
        list(video_frames(path, format="smell"))


def test_pictures_without_times_follow_at_the_files_rate(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mkv", fps=10) as writer:
        for _ in range(3):
            writer.write(picture(100))
    assert [frame.timestamp // 1_000_000 for frame in video_frames(tmp_path / "a.mkv")] == [0, 100, 200]


def test_reading_can_stop_early(tmp_path: Path) -> None:
    frames = video_frames(clip(tmp_path / "a.mp4"))
    assert next(frames).timestamp == 0
    frames.close()  # type: ignore[attr-defined]
    with pytest.raises(StopIteration):
        next(frames)


def test_a_missing_file_is_an_ordinary_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        next(video_frames(tmp_path / "none.mp4"))


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(DataError, match="can't be read as video"):
        next(video_frames(tmp_path / "a.mp4"))


def test_a_file_without_pictures_is_refused(tmp_path: Path) -> None:
    from ringline.data.audio import save_audio_file

    save_audio_file(tmp_path / "a.wav", RuntimeData.audio(np.zeros(800), 8000))
    with pytest.raises(DataError, match="has no pictures in it"):
        next(video_frames(tmp_path / "a.wav"))


def test_pictures_of_another_size_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(picture(1))
        with pytest.raises(DataError, match="pictures of 64x48, not 32x32"):
            writer.write(picture(1, size=(32, 32)))


def test_pictures_of_odd_size_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4") as writer, pytest.raises(DataError, match="even picture sizes, not 31x32"):
        writer.write(picture(1, size=(32, 31)))


def test_what_is_no_picture_cannot_be_written(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4") as writer:
        with pytest.raises(DataError, match="a text message without VideoMetadata"):
            writer.write(RuntimeData.text("a"))
        with pytest.raises(DataError, match="can't be written to"):
            writer.write(RuntimeData("video", np.zeros((4, 4), np.uint8)))
        with pytest.raises(DataError, match="picture"):
            writer.write(RuntimeData("video", np.zeros(5, np.uint8), metadata=VideoMetadata(64, 48)))


def test_a_writer_may_be_closed_twice_and_without_pictures(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4")
    writer.close()
    writer.close()


def test_bad_arguments_of_a_writer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="frames per second above 0"):
        VideoWriter(tmp_path / "a.mp4", fps=0)
    with pytest.raises(DataError, match="can't be written as video"):
        VideoWriter(tmp_path / "a.unknown")
    with pytest.raises(FileNotFoundError, match="none"):
        VideoWriter(tmp_path / "none" / "a.mp4")
    with VideoWriter(tmp_path / "a.mp4", codec="smell") as writer, pytest.raises(DataError, match="codec 'smell'"):
        writer.write(picture(1))


def test_without_pyav_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"pip install 'ringline\[video\]'"):
        next(video_frames(tmp_path / "a.mp4"))
