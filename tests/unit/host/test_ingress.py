"""The ingress socket and the outlets behind it, with a session that only remembers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ringline.data import RuntimeData
from ringline.errors import MessageTooLargeError, ProcessCrashed, SessionError
from ringline.host import framing, ingress
from ringline.host.ingress import Ingress
from ringline.host.outlets import Outlets
from tests.helpers.ingress import FakeSession, until

LARGEST = 1000


class Client:
    """One connection, spoken to in frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, **header: Any) -> None:
        self.writer.writelines(framing.pack(header))
        await self.writer.drain()

    async def send(self, text: str) -> None:
        self.writer.writelines(framing.message_frame(RuntimeData.text(text)))
        await self.writer.drain()

    async def hear(self) -> dict[str, Any]:
        frame = await asyncio.wait_for(framing.read(self.reader, 1 << 20), 20)
        return {"op": "gone"} if frame is None else {**frame[0], "payload": frame[1]}

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class World:
    """A session, its ingress, and clients that are closed at the end."""

    def __init__(self, session: FakeSession, entered: Ingress, outlets: Outlets) -> None:
        self.session = session
        self.ingress = entered
        self.outlets = outlets
        self.clients: list[Client] = []

    async def client(self, **opening: Any) -> Client:
        client = Client(*await asyncio.open_unix_connection(self.ingress.path))
        self.clients.append(client)
        if opening:
            await client.say(op="open", **opening)
        return client


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(ingress, "LINGER_S", 0.5)
    session = FakeSession()
    async with Outlets(session, session.outputs) as outlets:
        inputs = ("microphone", "chat")
        async with Ingress(session, outlets, tmp_path, inputs=inputs, max_message_bytes=LARGEST) as entered:
            made = World(session, entered, outlets)
            yield made
            for client in made.clients:
                await client.close()


async def test_an_input_takes_messages_in_order_and_counts_them(world: World) -> None:
    client = await world.client(input="chat")
    assert await client.hear() == {"op": "opened", "max_message_bytes": LARGEST, "payload": b""}
    for text in ("one", "two"):
        await client.send(text)
    await client.say(op="done")
    assert (await client.hear())["messages"] == 2
    assert world.session.taken == [("chat", "one"), ("chat", "two")]
    assert world.session.ended == []


async def test_an_input_can_be_ended(world: World) -> None:
    client = await world.client(input="chat")
    await client.hear()
    await client.say(op="end")
    assert (await client.hear())["op"] == "closed"
    assert world.session.ended == ["chat"]


async def test_a_second_client_of_an_input_is_refused_until_the_first_has_gone(world: World) -> None:
    first = await world.client(input="chat")
    await first.hear()
    second = await world.client(input="chat")
    refused = await second.hear()
    assert (refused["op"], refused["kind"]) == ("error", "SessionError")
    assert "being fed by somebody else" in refused["error"]
    await first.say(op="done")
    await first.hear()
    third = await world.client(input="chat")
    assert (await third.hear())["op"] == "opened"


async def test_a_client_that_dies_gives_its_input_back(world: World) -> None:
    first = await world.client(input="chat")
    await first.hear()
    await first.close()
    for _ in range(1000):
        again = await world.client(input="chat")
        if (await again.hear())["op"] == "opened":
            return
        await asyncio.sleep(0.01)
    pytest.fail("the input was never given back")


async def test_an_input_that_the_command_feeds_itself_is_taken(world: World) -> None:
    with world.ingress.feeding("chat"):
        client = await world.client(input="chat")
        assert (await client.hear())["op"] == "error"
    client = await world.client(input="chat")
    assert (await client.hear())["op"] == "opened"


@pytest.mark.parametrize(
    ("opening", "message"),
    [
        ({"input": "nose"}, "no input 'nose' (it has: microphone, chat)"),
        ({"output": "nose"}, "no output 'nose' (it has: speaker, words)"),
        ({"input": "chat", "output": "words"}, "begins with"),
        ({"neither": 1}, "begins with"),
    ],
)
async def test_an_end_that_is_not_there_is_refused_with_those_that_are(
    world: World, opening: dict[str, Any], message: str
) -> None:
    client = await world.client(**opening)
    answer = await client.hear()
    assert answer["op"] == "error"
    assert message in answer["error"]
    assert (await client.hear())["op"] == "gone"


async def test_a_frame_that_is_none_is_answered_and_ends_the_connection(world: World) -> None:
    client = await world.client()
    client.writer.write(b"\xff" * 64)
    assert (await client.hear())["kind"] == "DataError"
    assert (await client.hear())["op"] == "gone"


async def test_a_message_that_is_too_large_is_refused_before_it_is_read(world: World) -> None:
    client = await world.client(input="chat")
    await client.hear()
    client.writer.writelines(framing.pack({"op": "data", "type": "text", "body": LARGEST + 1}))
    answer = await client.hear()
    assert answer["kind"] == "DataError"
    assert f"at most {LARGEST}" in answer["error"]
    assert world.session.taken == []


async def test_a_refusal_of_the_session_reaches_the_client_in_its_own_class(world: World) -> None:
    world.session.refuse = MessageTooLargeError("raise maxMessageSize")
    client = await world.client(input="chat")
    await client.hear()
    await client.send("x")
    answer = await client.hear()
    assert (answer["kind"], answer["error"]) == ("MessageTooLargeError", "raise maxMessageSize")


async def test_a_refused_client_that_goes_on_sending_still_reads_why(world: World) -> None:
    world.session.refuse = MessageTooLargeError("raise maxMessageSize")
    client = await world.client(input="chat")
    await client.hear()
    for _ in range(2000):  # more than the socket holds
        await client.send("x" * 500)
    assert (await client.hear())["error"] == "raise maxMessageSize"


async def test_an_unknown_op_on_an_input_is_refused(world: World) -> None:
    client = await world.client(input="chat")
    await client.hear()
    await client.say(op="dance")
    assert "not 'dance'" in (await client.hear())["error"]


async def test_a_client_that_says_nothing_is_let_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingress, "OPEN_PATIENCE_S", 0.05)
    client = await world.client()
    assert "no open frame came" in (await client.hear())["error"]


async def test_too_many_clients_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingress, "MAX_CLIENTS", 1)
    first = await world.client(output="words")
    await first.hear()
    second = await world.client(output="words")
    assert "clients are connected already" in (await second.hear())["error"]


async def test_an_output_s_messages_reach_all_who_read_it_and_then_its_end(world: World) -> None:
    clients = [await world.client(output="words") for _ in range(2)]
    for client in clients:
        assert (await client.hear())["op"] == "opened"
    await until(lambda: len(world.outlets.get("words")._listeners) == 2)
    world.session.outputs["words"].put_nowait(RuntimeData.text("hello"))
    world.session.outputs["words"].put_nowait(None)
    for client in clients:
        assert (await client.hear())["payload"] == b"hello"
        assert (await client.hear())["op"] == "end"
        assert (await client.hear())["op"] == "gone"


async def test_who_opens_an_output_that_has_ended_hears_so_at_once(world: World) -> None:
    world.session.outputs["words"].put_nowait(None)
    await until(lambda: world.outlets.get("words")._ended)
    client = await world.client(output="words")
    assert [(await client.hear())["op"] for _ in range(2)] == ["opened", "end"]


async def test_a_reader_that_goes_away_holds_nothing_up(world: World) -> None:
    client = await world.client(output="words")
    await client.hear()
    await client.close()
    outlet = world.outlets.get("words")
    await until(lambda: not outlet._listeners)
    for _ in range(3):
        world.session.outputs["words"].put_nowait(RuntimeData.text("x" * 200))
    await until(lambda: outlet.messages == 3)
    assert outlet.bytes == 600


async def test_an_output_that_nobody_reads_is_read_and_released(world: World) -> None:
    data = RuntimeData.text("x")
    world.session.outputs["speaker"].put_nowait(data)
    await until(lambda: world.outlets.get("speaker").messages == 1)
    assert data.released


async def test_a_crash_of_the_session_ends_the_outputs(world: World) -> None:
    client = await world.client(output="words")
    await client.hear()
    world.session.outputs["words"].put_nowait(ProcessCrashed("asr", 1))
    assert (await client.hear())["op"] == "end"


async def test_the_socket_goes_with_the_ingress(tmp_path: Path) -> None:
    session = FakeSession()
    async with Outlets(session, []) as outlets:
        entered = Ingress(session, outlets, tmp_path, inputs=("chat",), max_message_bytes=LARGEST)
        async with entered:
            reader, writer = await asyncio.open_unix_connection(entered.path)
            assert entered.path.is_socket()
        assert list(tmp_path.iterdir()) == []
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(SessionError), entered.feeding("nose"):
            pass
