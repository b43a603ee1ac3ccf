"""What send and recv say to an ingress, and how they take its answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ringline.cli.client import connect, feed_input, read_output
from ringline.cli.feeds import Feed
from ringline.cli.media import open_writer
from ringline.cli.reach import Address
from ringline.data import RuntimeData
from ringline.errors import DataError, MessageTooLargeError, SessionError
from ringline.host.ingress import Ingress
from ringline.host.outlets import Outlets
from tests.helpers.ingress import FakeSession, until


class World:
    """A session called `call` with its ingress."""

    def __init__(self, session: FakeSession, outlets: Outlets, folder: Path) -> None:
        self.session = session
        self.outlets = outlets
        self.folder = folder

    def text(self, *lines: str) -> Feed:
        file = self.folder / "in.txt"
        file.write_text("".join(f"{line}\n" for line in lines))
        return Feed("chat", str(file), "any")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of a session called `call` which has not begun."""
    monkeypatch.setenv("RINGLINE_SHM_DIR", str(tmp_path))
    directory = tmp_path / f"ringline-{os.getuid()}" / "call"
    directory.mkdir(parents=True)
    directory.parent.chmod(0o700)
    return directory


@pytest.fixture
async def world(directory: Path, tmp_path: Path) -> AsyncIterator[World]:
    session = FakeSession()
    async with (
        Outlets(session, session.outputs) as outlets,
        Ingress(session, outlets, directory, inputs=("chat",), max_message_bytes=100),
    ):
        yield World(session, outlets, tmp_path)


async def feed(world: World, *lines: str, end: bool = False) -> int:
    return await feed_input(Address(session="call"), world.text(*lines), end=end, realtime=False, block_ms=20)


async def test_a_file_is_sent_and_counted(world: World) -> None:
    assert await feed(world, "one", "two", "three") == 3
    assert [text for _, text in world.session.taken] == ["one", "two", "three"]
    assert world.session.ended == []


async def test_several_files_go_one_after_the_other_and_the_last_may_end_the_input(world: World) -> None:
    await feed(world, "one")
    await feed(world, "two", end=True)
    assert [text for _, text in world.session.taken] == ["one", "two"]
    assert world.session.ended == ["chat"]


async def test_a_refusal_is_raised_in_the_class_of_the_session_s_own_error(world: World) -> None:
    world.session.refuse = MessageTooLargeError("raise maxMessageSize")
    with pytest.raises(MessageTooLargeError, match="raise maxMessageSize"):
        await feed(world, *["x"] * 2000)


async def test_a_message_that_is_too_large_for_the_ingress_is_refused(world: World) -> None:
    with pytest.raises(DataError, match="at most 100"):
        await feed(world, "x" * 101)


async def test_a_session_that_is_not_there_is_told_with_those_that_are(world: World) -> None:
    with pytest.raises(SessionError, match=r"no session 'other' takes data here \(those that do: call\)"):
        await feed_input(Address(session="other"), world.text("x"), end=False, realtime=False, block_ms=20)


async def test_a_socket_that_nobody_serves_is_a_session_that_is_not_there(world: World) -> None:
    folder = world.folder / f"ringline-{os.getuid()}" / "dead"
    folder.mkdir()
    (folder / "ingress").touch()
    with pytest.raises(SessionError, match="no session 'dead'"):
        async with connect(Address(session="dead"), input="chat"):
            pass


async def test_an_output_is_written_until_its_end(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    reading = asyncio.create_task(read_output(Address(session="call"), "words", open_writer("-"), None))
    await until(lambda: world.outlets.get("words")._listeners)
    for item in (RuntimeData.text("one"), RuntimeData.json({"n": 2}), None):
        world.session.outputs["words"].put_nowait(item)
    assert await reading == 2
    assert capsys.readouterr().out == 'one\n{"n": 2}\n'


async def test_a_count_is_enough(world: World) -> None:
    path = world.folder / "out.jsonl"
    writer = open_writer(str(path))
    reading = asyncio.create_task(read_output(Address(session="call"), "words", writer, 2))
    await until(lambda: world.outlets.get("words")._listeners)
    for number in range(5):
        world.session.outputs["words"].put_nowait(RuntimeData.text(str(number)))
    assert await reading == 2
    writer.close()
    assert [json.loads(line)["payload"] for line in path.read_text().splitlines()] == ["0", "1"]


async def test_ctrl_c_ends_reading_and_keeps_what_came(world: World) -> None:
    path = world.folder / "out.txt"
    writer = open_writer(str(path))
    reading = asyncio.create_task(read_output(Address(session="call"), "words", writer, None))
    await until(lambda: world.outlets.get("words")._listeners)
    world.session.outputs["words"].put_nowait(RuntimeData.text("one"))
    await until(path.exists)
    os.kill(os.getpid(), signal.SIGINT)
    assert await reading == 1
    writer.close()
    assert path.read_text() == "one\n"


async def test_a_session_that_goes_away_is_an_error_not_an_end(directory: Path) -> None:
    session = FakeSession()
    async with Outlets(session, ["words"]) as outlets:
        async with Ingress(session, outlets, directory, inputs=(), max_message_bytes=100):
            reading = asyncio.create_task(read_output(Address(session="call"), "words", open_writer("-"), None))
            await until(lambda: outlets.get("words")._listeners)
        with pytest.raises(SessionError, match="the session ended"):
            await reading


async def test_a_session_that_ends_while_a_feed_waits_for_its_next_line_ends_the_feed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, (ours, theirs) = FakeSession(), os.pipe()
    with os.fdopen(ours) as stdin, os.fdopen(theirs, "w") as keyboard:
        monkeypatch.setattr("sys.stdin", stdin)
        async with Outlets(session, []) as outlets:
            async with Ingress(session, outlets, directory, inputs=("chat",), max_message_bytes=100):
                typed = Feed("chat", "-", "any")
                work = feed_input(Address(session="call"), typed, end=False, realtime=False, block_ms=20)
                feeding = asyncio.create_task(work)
                print("hello", file=keyboard, flush=True)
                await until(lambda: session.taken)
            with pytest.raises(SessionError, match="the session ended"):
                await feeding
        keyboard.close()
        await until(lambda: not [thread for thread in threading.enumerate() if thread.name == "ringline-feed"])
