"""The WebSocket ingress of a pod: who may in, what is spoken there, and what clients may do without hurting the session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.typing import Subprotocol

from ringline import Pipeline, RuntimeData
from ringline.cli.client import connect as cli_connect
from ringline.cli.client import feed_input, read_output
from ringline.cli.feeds import Feed
from ringline.cli.media import open_writer
from ringline.cli.reach import Address
from ringline.data.codec import encode
from ringline.errors import SessionError
from tests.helpers.pod import TOKEN, Pod
from tests.helpers.websocket import client
from tests.integration.sessions import config, session_id

IN, OUT = "/v1/inputs/in", "/v1/outputs/out"
TALK = f"{IN}{OUT.removeprefix('/v1')}"


def echo(folder: Path, shm_root: Path) -> Pod:
    pipeline = (
        Pipeline("echo").add_node("t_echo", "echo").input("in", to="echo.input").output("out", from_="echo.output")
    )
    return Pod(folder / "files", shm_root / session_id(), pipeline.plan(config()))


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory, shm_root: Path) -> Iterator[Pod]:
    """One pod for nearly all tests of this file: that each works shows that the one before did no harm."""
    with echo(tmp_path_factory.mktemp("pod"), shm_root) as pod:
        pod.until_ready()
        yield pod


@pytest.fixture(autouse=True)
async def works_afterwards(pod: Pod) -> object:
    yield
    pod.until(lambda: pod.get("/readyz")[0] == 200)
    async with asyncio.timeout(60):
        while not await works(pod):
            await asyncio.sleep(0.02)  # a reserved input is free again after a while


async def works(pod: Pod) -> bool:
    try:
        async with client(pod.ingress_port, TALK, TOKEN) as talk:
            return await talk.text("still here") == "still here"
    except InvalidStatus:
        return False


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        (IN, "", 401),
        (IN, "wrong", 401),
        ("/v1/inputs/nowhere", TOKEN, 404),
        ("/v1/outputs/in", TOKEN, 404),
        ("/v2/inputs/in", TOKEN, 404),
        (f"{IN}?rate=fast", TOKEN, 400),
    ],
)
async def test_a_handshake_that_is_refused_says_why(pod: Pod, path: str, token: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with client(pod.ingress_port, path, token):
            pass
    assert refused.value.response.status_code == status
    assert refused.value.response.body


async def test_a_second_client_on_an_input_gets_409_until_the_first_has_gone(pod: Pod) -> None:
    async with client(pod.ingress_port, IN, TOKEN) as first:
        await first.until("opened")
        with pytest.raises(InvalidStatus) as refused:
            async with client(pod.ingress_port, IN, TOKEN):
                pass
        assert refused.value.response.status_code == 409


async def test_many_may_hear_one_output(pod: Pod) -> None:
    async with client(pod.ingress_port, OUT, TOKEN) as one, client(pod.ingress_port, OUT, TOKEN) as two:
        await asyncio.gather(one.until("opened"), two.until("opened"))
        async with client(pod.ingress_port, IN, TOKEN) as talk:
            await talk.send(RuntimeData.json({"n": 1}))
            await talk.say(op="done")
            assert (await talk.until("closed"))[0]["messages"] == 1
        for each in (one, two):
            data = (await each.until("data"))[1]
            assert data is not None
            assert data.payload == {"n": 1}


async def test_every_kind_of_message_comes_back_as_it_went(pod: Pod) -> None:
    sent = [
        RuntimeData.audio(np.linspace(-1, 1, 480, dtype=np.float32), 48000, timestamp=7),
        RuntimeData.video(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3), fps=25.0),
        RuntimeData.tensor(np.arange(6, dtype="<i8").reshape(2, 3)),
        RuntimeData.binary(b"\x00\xff" * 100),
        RuntimeData.text("grüße"),
    ]
    async with client(pod.ingress_port, TALK, TOKEN) as talk:
        for data in sent:
            await talk.send(data)
            back = (await talk.until("data"))[1]
            assert back is not None
            assert (back.type, back.timestamp) == (data.type, data.timestamp)
            assert bytes(encode(back).payload) == bytes(encode(data).payload)


async def test_a_browser_speaks_plain_samples(pod: Pod) -> None:
    samples = (np.arange(320) * 50).astype("<i2")
    offers = [Subprotocol("pcm"), Subprotocol(f"ringline.bearer.{TOKEN}")]
    url = f"ws://127.0.0.1:{pod.ingress_port}{TALK}?rate=8000&channels=2"
    async with asyncio.timeout(60), connect(url, subprotocols=offers) as talk:
        assert talk.subprotocol == "pcm"
        assert json.loads(await talk.recv())["op"] == "opened"
        await talk.send(samples.tobytes())
        assert json.loads(await talk.recv()) == {"op": "format", "sample_rate": 8000, "channels": 2}
        assert await talk.recv() == samples.tobytes()
        await talk.send(b"\x00\x01\x02")
        assert json.loads(await talk.recv())["kind"] == "DataError"


async def test_without_a_sub_protocol_samples_are_meant(pod: Pod) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        asyncio.timeout(60),
        connect(f"ws://127.0.0.1:{pod.ingress_port}{TALK}", additional_headers=headers) as talk,
    ):
        await talk.recv()
        await talk.send(b"\x01\x00" * 10)
        assert json.loads(await talk.recv())["sample_rate"] == 16000


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\x01",
        b"\xff\xff\xff\xff{}",
        b"\x02\x00\x00\x00{}",
        b"\x02\x00\x00\x00[]",
        b'\x0d\x00\x00\x00{"op":"data"}',
        b'\x0f\x00\x00\x00{"op":"dance!!"}',
        "no json",
        '{"op":"data","type":"audio","body":12}',
        '{"op":"parameters"}',
        '{"op":"data","type":"text","body":-1}',
    ],
)
async def test_what_is_no_frame_gets_one_sentence_and_the_connection_lives(pod: Pod, wire: str | bytes) -> None:
    async with client(pod.ingress_port, TALK, TOKEN) as talk:
        await talk.connection.send(wire)
        header, _ = await talk.until("error")
        assert header["kind"] in ("DataError", "ValueError")
        assert await talk.text("on") == "on"


async def test_a_message_over_the_limit_ends_the_connection(pod: Pod) -> None:
    async with client(pod.ingress_port, IN, TOKEN) as talk:
        await talk.until("opened")
        await talk.connection.send(b"x" * (3 << 20))
        with pytest.raises(ConnectionClosedError, match="1009"):
            await talk.hear()


async def test_clients_that_vanish_leave_the_session_alone(pod: Pod) -> None:
    for _ in range(5):
        while not await works(pod):
            await asyncio.sleep(0.01)
        async with client(pod.ingress_port, OUT, TOKEN) as talk:
            talk.connection.transport.abort()
    async with asyncio.timeout(60):
        while not await works(pod):
            await asyncio.sleep(0.01)
        async with client(pod.ingress_port, TALK, TOKEN) as talk:
            for number in range(20):
                await talk.send(RuntimeData.text(str(number)))
            talk.connection.transport.abort()
    assert pod.status()["phase"] == "Running"


async def test_a_flood_of_wrong_tokens_is_answered_with_429(tmp_path: Path, shm_root: Path) -> None:
    statuses = []
    with echo(tmp_path, shm_root) as flooded:  # for ten seconds it lets nobody in
        flooded.until_ready()
        while 429 not in statuses:
            with pytest.raises(InvalidStatus) as refused:
                async with client(flooded.ingress_port, IN, "guess"):
                    pass
            statuses.append(refused.value.response.status_code)
    assert set(statuses[:-1]) == {401}


async def test_the_command_line_sends_and_receives(pod: Pod, tmp_path: Path) -> None:
    url = Address(url=f"ws://127.0.0.1:{pod.ingress_port}", token=TOKEN)
    said, heard = tmp_path / "said.txt", tmp_path / "heard.txt"
    said.write_text("one\ntwo\nthree\n")
    writer = open_writer(str(heard))
    reading = asyncio.create_task(read_output(url, "out", writer, 3))
    async with asyncio.timeout(60):
        while not reading.done():
            await feed_input(url, Feed("in", str(said), "any"), end=False, realtime=False, block_ms=20)
            await asyncio.sleep(0.1)
        assert await reading == 3
    writer.close()
    assert sorted(set(heard.read_text().split())) == ["one", "three", "two"]


@pytest.mark.parametrize(
    ("token", "name", "text"),
    [("", "in", "set RINGLINE_INGRESS_TOKEN"), ("wrong", "in", "bearer token"), (TOKEN, "none", "no input 'none'")],
)
async def test_the_command_line_says_why_it_is_refused(pod: Pod, token: str, name: str, text: str) -> None:
    with pytest.raises(SessionError, match=text):
        async with cli_connect(Address(url=f"ws://127.0.0.1:{pod.ingress_port}", token=token), input=name):
            pass


async def test_the_command_line_says_when_nobody_is_there(pod: Pod) -> None:
    with pytest.raises(SessionError, match=r"no session answers at ws://127\.0\.0\.1:1"):
        async with cli_connect(Address(url="ws://127.0.0.1:1"), input="in"):
            pass
