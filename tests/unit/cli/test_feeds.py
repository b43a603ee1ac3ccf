"""Feeding a file: all of it, in order, at the asked pace, then the end."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from ringline.cli.feeds import Feed, read
from ringline.cli.run import parse_files
from ringline.data import RuntimeData, save_audio_file
from ringline.errors import DataError
from tests.helpers.ingress import until


class Recorder:
    """Takes what a session would."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    async def send(self, node_id: str, data: Any) -> None:
        self.taken.append((node_id, data))

    async def end(self, node_id: str | None = None) -> None:
        self.taken.append((node_id, "end"))


async def test_every_message_then_the_end(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    session, feed = Recorder(), Feed("chat", str(tmp_path / "a.txt"), "text")
    await feed.run(session, realtime=False, block_ms=20)
    assert [data if data == "end" else data.as_text() for _, data in session.taken] == ["one", "two", "end"]
    assert {name for name, _ in session.taken} == {"chat"}
    assert feed.shape() == {"messages": 2, "bytes": 6, "file": str(tmp_path / "a.txt")}


async def test_the_media_s_own_pace_takes_the_media_s_time(tmp_path: Path) -> None:
    save_audio_file(tmp_path / "a.wav", RuntimeData.audio(np.zeros(1600, np.float32), 8000))
    session, feed = Recorder(), Feed("microphone", str(tmp_path / "a.wav"), "audio")
    began = time.monotonic()
    await feed.run(session, realtime=True, block_ms=50)
    # The last of four blocks begins 150 ms after the first.
    assert time.monotonic() - began >= 0.149
    assert feed.messages == 4


async def test_a_file_that_does_not_fit_ends_the_feed_with_its_error(tmp_path: Path) -> None:
    session = Recorder()
    with pytest.raises(DataError, match="there is no file"):
        await Feed("chat", str(tmp_path / "none.txt"), "text").run(session, realtime=False, block_ms=20)
    assert session.taken == []


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch) -> Iterator[IO[str]]:
    """What somebody types who may also type nothing."""
    ours, theirs = os.pipe()
    with os.fdopen(ours) as stdin, os.fdopen(theirs, "w") as keyboard:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield keyboard
        # A feed that was left has a thread that waits for the next line.
        keyboard.close()
        while any(thread.name == "ringline-feed" for thread in threading.enumerate()):
            time.sleep(0.001)


async def test_a_line_is_sent_when_it_is_typed(typing: IO[str]) -> None:
    session = Recorder()
    feeding = asyncio.create_task(Feed("chat", "-", "text").run(session, realtime=False, block_ms=20))
    for line in ("hello", "world"):
        print(line, file=typing, flush=True)
        await until(lambda line=line: session.taken and session.taken[-1][1].as_text() == line)
    typing.close()
    await feeding
    assert session.taken[-1] == ("chat", "end")


async def test_a_feed_can_be_left_while_nothing_is_typed(typing: IO[str]) -> None:
    session = Recorder()
    feeding = asyncio.create_task(Feed("chat", "-", "text").run(session, realtime=False, block_ms=20))
    print("hello", file=typing, flush=True)
    await until(lambda: session.taken)
    feeding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await feeding
    assert len(session.taken) == 1


async def test_a_feed_of_a_file_that_is_left_waits_for_the_message_in_work() -> None:
    reading, go, over = threading.Event(), threading.Event(), threading.Event()

    def messages() -> Iterator[RuntimeData]:
        reading.set()
        go.wait()
        over.set()
        yield RuntimeData.text("late")

    async def first() -> None:
        async for _ in read(messages(), wait=True):
            pass

    leaving = asyncio.create_task(first())
    await asyncio.to_thread(reading.wait)
    leaving.cancel()
    threading.Timer(0.02, go.set).start()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert over.is_set()


def test_name_and_file_are_split_at_the_first_equals_sign() -> None:
    assert parse_files(["a=b=c.wav", "x=-"], "--input") == {"a": "b=c.wav", "x": "-"}
    assert parse_files(None, "--input") == {}


@pytest.mark.parametrize("options", [["a"], ["=file"], ["a="], ["a=1", "a=2"]])
def test_a_name_without_a_file_or_given_twice_is_a_usage_error(options: list[str]) -> None:
    import typer

    with pytest.raises(typer.BadParameter):
        parse_files(options, "--input")
