"""The least host that a zygote and its nodes need: for tests of the node side alone, without a supervisor.

`Zygote` speaks frames over a socket pair. `NodeHost` adds an arena, the plan's file and a control server.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ringline import names
from ringline.control import frames
from ringline.control.link import ControlServer
from ringline.control.messages import Message, MessageType
from ringline.data import RuntimeData, decode, encode
from ringline.graph.pipeline import Pipeline
from ringline.settings import RuntimeConfig
from ringline.shm import Arena, Reader, Writer

PATIENCE_S = 60.0


class Zygote:
    """A zygote process and the host's end of its socket; `logs` collects what its nodes wrote."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logs: dict[str, bytes] = {"stdout": b"", "stderr": b""}
        self.events: list[dict[str, Any]] = []
        self._decoder = frames.Decoder()
        self.socket, theirs = socket.socketpair()
        command = [sys.executable, "-m", "ringline.node", "zygote", "--fd", str(theirs.fileno())]
        self.process = subprocess.Popen(
            [*command, "--directory", str(directory)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self.socket.settimeout(PATIENCE_S)

    def send(self, **header: Any) -> None:
        self.socket.sendall(frames.encode(header))

    def spawn(
        self, node: str, argv: Sequence[str] | None = None, epoch: int = 1, env: Mapping[str, str | None] | None = None
    ) -> None:
        self.send(op="spawn", node=node, epoch=epoch, env=dict(env or {}), argv=list(argv) if argv else None)

    def run_python(self, text: str, node: str = "n", epoch: int = 1) -> None:
        """Spawn a node that is only a piece of Python."""
        self.spawn(node, [sys.executable, "-c", text], epoch)

    def until(self, kind: str, **labels: Any) -> dict[str, Any]:
        """Read until an event of this kind (and with these values) comes; raises EOFError if the zygote ends."""
        while True:
            for event in self.events:
                if event["ev"] == kind and all(event.get(name) == value for name, value in labels.items()):
                    self.events.remove(event)
                    return event
            self.read()

    def read(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise EOFError("the zygote closed its socket")
        for header, body in self._decoder.feed(data):
            if header["ev"] == "log":
                self.logs[header["stream"]] += body
            self.events.append(header)

    def close(self) -> None:
        """End it: by an order if it still listens."""
        try:
            self.send(op="exit")
            while True:
                self.read()
        except (EOFError, OSError):
            pass
        self.socket.close()
        self.process.wait(PATIENCE_S)

    def __enter__(self) -> Self:
        self.until("hello")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class NodeHost:
    """A session's directory, arena, control server and zygote, with the test as the host."""

    def __init__(self, directory: Path, pipeline: Pipeline, settings: RuntimeConfig | None = None) -> None:
        self.directory = directory
        self.plan = pipeline.plan(settings or RuntimeConfig())
        self.messages: list[tuple[str, Message]] = []
        self.token = secrets.token_hex(16)
        self._arrived = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True)
        (self.directory / names.PLAN_FILE).write_bytes(self.plan.node_config())
        self.arena = Arena.create(self.directory, self.plan.layout)
        self.server = ControlServer(self.directory / names.CONTROL_SOCKET, self.token, self._heard)
        await self.server.start()
        self.zygote = Zygote(self.directory)
        await asyncio.to_thread(self.zygote.until, "hello")
        channels = self.plan.channels
        self.writers: dict[str, Writer] = {
            c.consumer: self.arena.writer([c.name]) for c in channels if c.producer == names.HOST
        }
        self.readers: dict[str, Reader] = {
            c.producer: self.arena.reader(c.name) for c in channels if c.consumer == names.HOST
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.zygote.close)
        await self.server.close()
        self.writers, self.readers = {}, {}
        self.arena.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _heard(self, node: str, message: Message) -> None:
        self.messages.append((node, message))
        self._arrived.set()

    def environment(self, node: str, epoch: int = 1) -> dict[str, str]:
        return {
            names.ENV_SESSION_ID: "test",
            names.ENV_SESSION_DIR: str(self.directory),
            names.ENV_NODE: node,
            names.ENV_EPOCH: str(epoch),
            names.ENV_TOKEN: self.token,
        }

    def spawn(
        self, node: str, epoch: int = 1, *, argv: Sequence[str] | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.zygote.spawn(node, argv, epoch, {**self.environment(node, epoch), **(env or {})})

    async def start(self, *nodes: str, **env: str) -> None:
        """Spawn nodes, wait until they are ready, and let them process."""
        for node in nodes:
            self.spawn(node, env=env)
        for node in nodes:
            await self.event(MessageType.READY, node)
        for node in nodes:
            await self.server.send(node, Message(MessageType.START))

    async def event(self, kind: MessageType, node: str | None = None) -> Message:
        """Wait for an event; each is given once. If the node exits instead, AssertionError shows why."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for entry in self.messages:
                if entry[1].type is kind and node in (None, entry[0]):
                    self.messages.remove(entry)
                    return entry[1]
            errors = [message.payload for name, message in self.messages if message.type is MessageType.ERROR]
            assert not errors, errors
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), 0.5)
            except TimeoutError:
                assert time.monotonic() < deadline, f"no {kind}; heard: {self.messages}"

    async def request(self, node: str, kind: MessageType, payload: dict[str, Any] | None = None) -> Message:
        """Send a command and wait for its answer."""
        command = Message(kind, payload or {})
        await self.server.send(node, command)
        while True:
            for entry in self.messages:
                if entry[1].message_id == command.message_id:
                    self.messages.remove(entry)
                    return entry[1]
            self._arrived.clear()
            await asyncio.wait_for(self._arrived.wait(), PATIENCE_S)

    def send(self, node: str, value: Any) -> None:
        kind, meta, payload, _ = encode(RuntimeData.coerce(value), "test")
        assert self.writers[node].send(payload, kind, meta, 0, time.monotonic_ns(), timeout_s=PATIENCE_S)

    def end(self, node: str) -> None:
        self.writers[node].end()

    async def receive(self, node: str) -> RuntimeData:
        """Give the next message of a node's output. EOFError at the end of the stream."""
        reader, deadline = self.readers[node], time.monotonic() + PATIENCE_S
        while (lease := reader.next()) is None:
            if reader.ended:
                raise EOFError(node)
            assert time.monotonic() < deadline, f"nothing came from {node}"
            await asyncio.sleep(0.001)
        where = {"timestamp": lease.timestamp, "origin": lease.origin, "sequence": lease.sequence}
        return decode(lease.kind, lease.meta, lease, **where, port="", session_id="test")

    async def exit_of(self, node: str, epoch: int = 1) -> dict[str, Any]:
        return await asyncio.to_thread(self.zygote.until, "exit", node=node, epoch=epoch)
