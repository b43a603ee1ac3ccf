"""Files as messages and messages as files."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline.cli.media import check_input, check_output, json_text, kind_of, open_writer, read_messages
from ringline.data import RuntimeData, load_audio_file, save_audio_file
from ringline.errors import DataError

RATE = 8000


def sound(folder: Path, *, seconds: float = 0.1, channels: int = 1) -> Path:
    samples = np.linspace(-0.5, 0.5, round(RATE * seconds), dtype=np.float32)
    shaped = np.repeat(samples[:, None], channels, axis=1) if channels > 1 else samples
    path = folder / "sound.wav"
    save_audio_file(path, RuntimeData.audio(shaped, RATE, channels))
    return path


@pytest.mark.parametrize(
    ("path", "declared", "kind"),
    [
        ("a.wav", "any", "audio"),
        ("a.FLAC", "any", "audio"),
        ("a.mp4", "any", "video"),
        ("a.mp4", "audio", "audio"),
        ("a.txt", "any", "text"),
        ("a.jsonl", "any", "json"),
        ("a.bin", "any", "binary"),
        ("a.txt", "file", "file"),
        ("-", "any", "text"),
        ("-", "binary", "binary"),
    ],
)
def test_the_channel_s_type_goes_before_the_suffix(path: str, declared: str, kind: str) -> None:
    assert kind_of(path, declared) == kind


def test_sound_is_read_in_blocks_that_follow_each_other(tmp_path: Path) -> None:
    blocks = list(read_messages(str(sound(tmp_path)), "audio", block_ms=30))
    assert [len(block.as_numpy()) for block in blocks] == [240, 240, 240, 80]
    assert [block.timestamp for block in blocks] == [0, 30_000_000, 60_000_000, 90_000_000]
    assert {block.metadata.sample_rate for block in blocks} == {RATE}


def test_channels_of_sound_stay_together(tmp_path: Path) -> None:
    first = next(read_messages(str(sound(tmp_path, channels=2)), "audio"))
    assert first.as_numpy().shape == (160, 2)
    assert first.metadata.channels == 2


def test_text_is_read_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n\nfour")
    assert [line.as_text() for line in read_messages(str(tmp_path / "a.txt"), "any")] == ["one", "two", "", "four"]


def test_json_is_read_by_line_or_whole(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n[2]\n')
    (tmp_path / "a.json").write_text('{\n"a": 1\n}')
    assert [item.as_json() for item in read_messages(str(tmp_path / "a.jsonl"), "json")] == [{"a": 1}, [2]]
    assert [item.as_json() for item in read_messages(str(tmp_path / "a.json"), "json")] == [{"a": 1}]


def test_anything_else_is_one_message_of_bytes_or_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"\0\1\2")
    (data,) = read_messages(str(path), "any")
    assert (data.type, bytes(data.payload)) == ("binary", b"\0\1\2")
    (named,) = read_messages(str(path), "file")
    assert named.as_text() == str(path)


def test_video_is_read_by_picture_and_written(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = open_writer(str(path))
    for number in range(3):
        frame = np.full((48, 64, 3), 60 * number, np.uint8)
        writer.write(RuntimeData.video(frame, fps=10.0, timestamp=number * 100_000_000))
    writer.close()
    pictures = list(read_messages(str(path), "any"))
    assert [picture.as_numpy().shape for picture in pictures] == [(48, 64, 3)] * 3
    assert [picture.timestamp for picture in pictures] == [0, 100_000_000, 200_000_000]


@pytest.fixture
def stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file in place of stdin."""
    path = tmp_path / "stdin"
    path.touch()
    with path.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        yield path


def test_stdin_can_be_sound_or_bytes(tmp_path: Path, stdin: Path) -> None:
    stdin.write_bytes(sound(tmp_path).read_bytes())
    assert sum(len(block.as_numpy()) for block in read_messages("-", "audio")) == 800
    os.lseek(sys.stdin.fileno(), 0, os.SEEK_SET)
    [whole] = read_messages("-", "binary")
    assert whole.payload == stdin.read_bytes()


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        (b"hello\nworld\n", ["hello", "world"]),
        (b"hello\r\n\nthe end", ["hello", "", "the end"]),
        (b"x" * 200_000 + b"\n" + "\u00e4".encode(), ["x" * 200_000, "\u00e4"]),
        (b"", []),
    ],
)
def test_stdin_is_text_by_line(stdin: Path, written: bytes, lines: list[str]) -> None:
    stdin.write_bytes(written)
    assert [line.as_text() for line in read_messages("-", "any")] == lines


def test_a_line_of_stdin_that_is_no_text_is_refused_after_those_before(stdin: Path) -> None:
    stdin.write_bytes(b"good\n\xff\xfe\n")
    messages = read_messages("-", "text")
    assert next(messages).as_text() == "good"
    with pytest.raises(DataError, match="stdin is not UTF-8 text"):
        next(messages)


@pytest.mark.parametrize(
    ("name", "content", "declared", "message"),
    [
        ("none.wav", None, "audio", "there is no file"),
        ("a.txt", b"\xff\xfe", "text", "not UTF-8"),
        ("a.jsonl", b"1\n{", "json", "line 2: no JSON"),
        ("a.json", b"{", "json", "no JSON"),
        ("a.npy", b"", "tensor", "no file holds tensor messages"),
    ],
)
def test_a_file_that_does_not_fit_says_why(
    tmp_path: Path, name: str, content: bytes | None, declared: str, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_messages(str(tmp_path / name), declared))


def test_sound_is_written_as_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    writer = open_writer(str(path))
    for level in (0.25, -0.25):
        writer.write(RuntimeData.audio(np.full(80, level, np.float32), RATE))
    writer.close()
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (RATE, 1, 160)
    samples = load_audio_file(path).as_numpy()
    assert np.allclose(samples[:80], 0.25, atol=1e-4)
    assert np.allclose(samples[80:], -0.25, atol=1e-4)


def test_sound_that_changes_its_rate_is_refused(tmp_path: Path) -> None:
    writer = open_writer(str(tmp_path / "out.wav"))
    writer.write(RuntimeData.audio(np.zeros(8, np.float32), RATE))
    with pytest.raises(DataError, match="the sound changed from"):
        writer.write(RuntimeData.audio(np.zeros(8, np.float32), 2 * RATE))
    writer.close()


def test_a_file_without_messages_is_not_made(tmp_path: Path) -> None:
    for name in ("a.wav", "a.txt", "a.bin", "a.mp4"):
        open_writer(str(tmp_path / name)).close()
    assert list(tmp_path.iterdir()) == []


def test_text_and_json_are_written_by_line(tmp_path: Path) -> None:
    for name, expected in (("a.txt", ["hé", '{"a": 1}']), ("a.jsonl", None)):
        writer = open_writer(str(tmp_path / name))
        writer.write(RuntimeData.text("hé"))
        writer.write(RuntimeData.json({"a": 1}))
        writer.close()
        lines = (tmp_path / name).read_text(encoding="utf-8").splitlines()
        if expected is None:
            assert [json.loads(line)["payload"] for line in lines] == ["hé", {"a": 1}]
        else:
            assert lines == expected


def test_a_dash_prints(capsys: pytest.CaptureFixture[str]) -> None:
    writer = open_writer("-")
    writer.write(RuntimeData.text("hello"))
    writer.close()
    assert capsys.readouterr().out == "hello\n"
    assert not sys.stdout.closed


def test_bytes_are_written_raw(tmp_path: Path) -> None:
    writer = open_writer(str(tmp_path / "a.bin"))
    writer.write(RuntimeData.binary(b"ab"))
    writer.write(RuntimeData.tensor(np.array([1], np.uint8)))
    writer.close()
    assert (tmp_path / "a.bin").read_bytes() == b"ab\x01"


@pytest.mark.parametrize("name", ["a.wav", "a.txt", "a.mp4"])
def test_a_message_that_the_file_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    writer = open_writer(str(tmp_path / name))
    with pytest.raises(DataError, match="binary message"):
        writer.write(RuntimeData.binary(b"x"))
    writer.close()


def test_sound_is_not_written_in_formats_that_need_an_encoder() -> None:
    with pytest.raises(DataError, match=r"written as \.wav"):
        open_writer("a.mp3")


def test_media_in_a_json_file_is_described_not_copied() -> None:
    described = json.loads(json_text(RuntimeData.audio(np.zeros(80, np.float32), RATE, timestamp=5)))
    assert described["type"] == "audio"
    assert (described["bytes"], described["timestamp"]) == (320, 5)
    assert described["metadata"]["sample_rate"] == RATE
    assert "payload" not in described


@given(
    samples=st.integers(min_value=0, max_value=3000),
    channels=st.integers(min_value=1, max_value=3),
    block_ms=st.floats(min_value=1, max_value=500),
)
def test_blocks_cover_a_sound_without_gap_or_overlap(samples: int, channels: int, block_ms: float) -> None:
    count = np.arange(samples * channels, dtype=np.int16)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/sound.wav"
        with wave.open(path, "wb") as file:
            file.setparams((channels, 2, RATE, 0, "NONE", ""))
            file.writeframes(count.tobytes())
        blocks = list(read_messages(path, "audio", block_ms=block_ms))
    assert sum(len(block.as_numpy()) for block in blocks) == samples
    position = 0
    for block in blocks:
        assert block.timestamp == position * 1_000_000_000 // RATE
        position += len(block.as_numpy())
    whole = b"".join(np.rint(block.as_numpy() * 32768).astype(np.int16).tobytes() for block in blocks)
    assert whole == count.tobytes()


def test_what_can_be_read_and_written_is_accepted_before_a_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for readable in ("-", str(sound(tmp_path)), str(tmp_path / "pipe"), "/dev/null"):
        check_input(readable)
    for writable in ("-", str(tmp_path / "new.txt"), str(sound(tmp_path)), "/dev/null"):
        check_output(writable)
    assert not (tmp_path / "new.txt").exists()


def test_what_can_not_be_read_or_written_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"there is no file .*none\.wav"):
        check_input(str(tmp_path / "none.wav"))
    with pytest.raises(DataError, match="can't be read: it is a folder"):
        check_input(str(tmp_path))
    with pytest.raises(DataError, match=r"can't be written: there is no folder .*/none; make it first"):
        check_output(str(tmp_path / "none" / "a.wav"))
    with pytest.raises(DataError, match="can't be written: it is a folder"):
        check_output(str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(DataError, match="can't be read: its mode forbids it"):
        check_input(str(sound(tmp_path)))
    with pytest.raises(DataError, match="can't be written: a mode forbids it"):
        check_output(str(tmp_path / "new.txt"))


def test_a_named_pipe_is_a_file_like_any(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lines.txt")
    writer = threading.Thread(target=(tmp_path / "lines.txt").write_text, args=("one\ntwo\n",))
    writer.start()
    assert [line.as_text() for line in read_messages(str(tmp_path / "lines.txt"), "any")] == ["one", "two"]
    writer.join()
