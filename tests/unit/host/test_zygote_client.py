"""The host's end of the pipe to a zygote, with small scripts in the zygote's place."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ringline.errors import ProcessSpawnError
from ringline.host import zygote_client
from ringline.host.zygote_client import ZygoteClient
from tests.helpers.freeze import freeze

PREFIX = """
import json, os, socket, struct, sys, time
host = socket.socket(fileno=int(sys.argv[1]))
def tell(body=b"", **header):
    data = json.dumps({**header, **({"body": len(body)} if body else {})}).encode()
    host.sendall(struct.pack("<I", len(data)) + data + body)
def read(count):
    data = b""
    while len(data) < count and (more := host.recv(count - len(data))):
        data += more
    return data
def command():
    length = read(4)
    return json.loads(read(struct.unpack("<I", length)[0])) if length else None
"""


class Scripted(ZygoteClient):
    """Runs a script instead of the zygote; what it hears is kept."""

    def __init__(self, script: str, directory: Path) -> None:
        self.script = PREFIX + script
        self.events: list[tuple[dict[str, Any], bytes]] = []
        self.lost: list[str] = []
        super().__init__(
            "s1", directory, lambda event, body: self.events.append((event, body)), self.lost.append, os.environ
        )

    def _popen(self, theirs: Any, words: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", self.script, str(theirs.fileno())]
        return subprocess.Popen(command, pass_fds=[theirs.fileno()], stdout=words, stderr=words)


async def test_events_come_in_order_with_their_bodies(tmp_path: Path) -> None:
    client = Scripted(
        """
tell(ev="hello", pid=os.getpid())
spawn = command()
tell(ev="spawned", node=spawn["node"], epoch=spawn["epoch"], pid=77)
tell(b"one\\ntwo\\n", ev="log", node="a", epoch=1, stream="stderr")
signal = command()
tell(ev="exit", node="a", epoch=1, code=128 + signal["signal"])
assert command() == {"op": "exit"}
""",
        tmp_path,
    )
    await client.start()
    client.spawn("a", 1, {"X": "1"}, None)
    client.signal("a", 1, 15)
    while len(client.events) < 3:
        await asyncio.sleep(0.005)
    await client.close()
    await client.close()
    assert [event["ev"] for event, _ in client.events] == ["spawned", "log", "exit"]
    assert client.events[1][1] == b"one\ntwo\n"
    assert client.events[2][0]["code"] == 143
    assert client.lost == []


async def test_one_that_dies_at_its_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    client = Scripted("raise ImportError('no such thing')", tmp_path)
    with pytest.raises(ProcessSpawnError, match="ImportError: no such thing"):
        await client.start()
    await client.close()


async def test_one_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygote_client, "HELLO_TIMEOUT_S", 0.1)
    monkeypatch.setattr(zygote_client, "_EXIT_PATIENCE_S", 0.1)
    client = Scripted("time.sleep(3600)", tmp_path)
    with pytest.raises(ProcessSpawnError, match="said nothing"):
        await client.start()
    await client.close()


@pytest.mark.parametrize(
    "garbage", ["host.sendall(b'\\xff' * 64)", "host.sendall(struct.pack('<I', 3) + b'abc')", "os._exit(3)"]
)
async def test_its_loss_is_told_once(tmp_path: Path, garbage: str) -> None:
    client = Scripted(f"tell(ev='hello', pid=1)\n{garbage}\ntime.sleep(0.05)", tmp_path)
    await client.start()
    while not client.lost:
        await asyncio.sleep(0.005)
    await client.close()
    [text] = client.lost
    assert "zygote is gone" in text


async def test_each_order_lets_one_run_that_was_stopped(tmp_path: Path) -> None:
    client = Scripted(
        """
tell(ev="hello", pid=os.getpid())
signal = command()
tell(ev="exit", node="a", epoch=1, code=128 + signal["signal"])
command()
""",
        tmp_path,
    )
    await client.start()
    assert client.pid is not None
    freeze(client.pid)
    client.signal("a", 1, 9)
    while not client.events:
        await asyncio.sleep(0.005)
    freeze(client.pid)
    await client.close()
    assert (client._process and client._process.returncode, client.lost) == (0, [])


async def test_one_that_does_not_leave_is_killed_after_one_patience_not_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zygote_client, "_EXIT_PATIENCE_S", 0.2)
    waited: list[float | None] = []
    client = Scripted("tell(ev='hello', pid=1)\nwhile True: time.sleep(3600)", tmp_path)
    await client.start()
    process = client._process
    assert process is not None
    wait = process.wait

    def noted(timeout: float | None = None) -> int:
        waited.append(timeout)
        return wait(timeout)

    monkeypatch.setattr(process, "wait", noted)
    await client.close()
    assert process.returncode == -9
    assert waited[0] == zygote_client._LAST_STEPS_S


async def test_a_million_bytes_of_its_own_words_do_not_hold_it_up(tmp_path: Path) -> None:
    script = """
sys.stderr = open(2, "w", errors="ignore")
try:
    for _ in range(64): os.write(2, b"w" * 16384)
except BlockingIOError:
    pass
tell(ev="hello", pid=1)
command()
"""
    client = Scripted(script, tmp_path)
    await client.start()
    await client.close()
    assert client.lost == []


async def test_a_program_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    client = ZygoteClient("s1", tmp_path, lambda *_: None, lambda _: None, os.environ)
    with pytest.raises(ProcessSpawnError, match="zygote could not be started"):
        await client.start()
    await client.close()
