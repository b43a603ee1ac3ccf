"""The gateway's line to the zygotes of its pod, one in each node's container: the same verbs and events as a local zygote's.

They dial the socket `gateway` in the session directory; what is ordered while a container is not there yet waits for it. A
connection that breaks without a word means that its container has ended, and its node with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import signal as signals
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ringline import __version__
from ringline.control import frames
from ringline.errors import ControlError
from ringline.host.zygote_client import EventHandler
from ringline.names import GATEWAY_SOCKET
from ringline.node.procfs import Use

log = logging.getLogger("ringline.host")

_READ_BYTES: Final = 64 << 10
_HELLO_PATIENCE_S: Final = 5.0
_GOODBYE_S: Final = 2.0


class _Place:
    """One node's container: its connection, and what it has been ordered."""

    def __init__(self) -> None:
        self.writer: asyncio.StreamWriter | None = None
        self.was_here = False
        self.order: dict[str, Any] | None = None
        self.ready = 0
        self.leaving: dict[str, Any] | None = None
        self.exited = 0
        """The last epoch whose end is known; nothing is told twice."""
        self.used: tuple[int, Use] = (0, Use())
        """An epoch, and what it used when its container last told."""

    def send(self, header: Mapping[str, Any]) -> None:
        if self.writer is not None and not self.writer.is_closing():
            self.writer.write(frames.encode(header))


class PodZygotes:
    """All zygotes of the pod. `on_drain` is called when the preStop hook asks for the session's end."""

    def __init__(
        self,
        directory: Path,
        token: str,
        nodes: Sequence[str],
        on_event: EventHandler,
        *,
        on_drain: Callable[[], asyncio.Future[None]],
        restarts_nodes: bool,
    ) -> None:
        self._path = directory / GATEWAY_SOCKET
        self._token = token
        self._places = {node: _Place() for node in nodes}
        self._on_event = on_event
        self._on_drain = on_drain
        self._restarts_nodes = restarts_nodes
        self._all_here = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen. The socket is the last thing that a zygote waits for."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._client, self._path)
        self._path.chmod(0o660)

    async def present(self) -> None:
        """Return when every container has said hello."""
        await self._all_here.wait()

    def absent(self) -> list[str]:
        """Give the nodes whose containers have not been here yet."""
        return [node for node, place in self._places.items() if not place.was_here]

    def spawn(self, node: str, epoch: int, environ: Mapping[str, str], _argv: Sequence[str] | None) -> None:
        """Order an incarnation; which interpreter runs it is the container's own affair."""
        place = self._places[node]
        place.order = {"op": "spawn", "epoch": epoch, "env": dict(environ)}
        place.send(place.order)

    def signal(self, node: str, epoch: int, number: int) -> None:
        """Have a signal sent to the node's whole process group, if that epoch still runs."""
        self._places[node].send({"op": "signal", "epoch": epoch, "signal": int(number), "group": True})

    def ready(self, node: str, epoch: int) -> None:
        """Tell the container that its node is ready: that is what its probes answer."""
        place = self._places[node]
        place.ready = epoch
        place.send({"op": "ready", "epoch": epoch})

    def leave(self, node: str, code: int, record: Mapping[str, Any] | None) -> None:
        """End the node's container with this exit code and these last words; it is ended only once."""
        place = self._places[node]
        if place.leaving is None:
            place.leaving = {"op": "leave", "code": code, "record": dict(record) if record else None}
            place.send(place.leaving)

    def use(self, node: str, epoch: int) -> Use:
        """Give what that incarnation used a few seconds ago; nothing if it has ended or has not been measured yet."""
        place = self._places[node]
        measured, found = place.used
        return found if measured == epoch > place.exited else Use()

    def dismiss(self, code: int) -> None:
        """End the containers that have not come yet as soon as they do; their nodes count as ended."""
        for node in self.absent():
            place = self._places[node]
            self.leave(node, code, None)
            epoch = place.exited = int(place.order["epoch"]) if place.order else 1
            event = {"ev": "exit", "node": node, "epoch": epoch, "pid": 0, "code": code, "signal": None}
            self._on_event({**event, "oom": None, "tail": [], "final": True}, b"")

    async def close(self) -> None:
        """Wait for the containers that were told to leave, then hang up."""
        if self._server is None:
            return
        self._server.close()
        if self._clients:
            await asyncio.wait(list(self._clients), timeout=_GOODBYE_S)
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self._path.unlink(missing_ok=True)
        self._server = None

    # -- one connection --------------------------------------------------------------------------------------------

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        except (ControlError, OSError, TimeoutError, ValueError, TypeError, KeyError) as error:
            log.warning("refused on the gateway socket: %s", error)
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = frames.Decoder()
        async with asyncio.timeout(_HELLO_PATIENCE_S):
            hello = await _next(reader, decoder)
        if hello is None:
            return
        if not hmac.compare_digest(str(hello.get("token", "")).encode(), self._token.encode()):
            raise ControlError("a caller without this session's token")
        if hello.get("ev") == "drain":
            await self._drain(writer)
            return
        node = str(hello.get("node"))
        place = self._places.get(node)
        if place is None:
            raise ControlError(f"a container that says it is node {node!a}, which is not in the plan")
        self._welcome(node, place, writer, str(hello.get("version", "")))
        await self._listen(node, place, reader, decoder)
        if place.writer is writer:
            place.writer = None
            self._lost(node, place)

    def _welcome(self, node: str, place: _Place, writer: asyncio.StreamWriter, version: str) -> None:
        place.writer, place.was_here = writer, True
        place.send({"op": "welcome", "restarts_nodes": self._restarts_nodes})
        if not compatible(version, __version__):
            text = f"its image has Ringline {version}, the gateway's has {__version__}; use images of the same version"
            epoch = place.order["epoch"] if place.order else 1
            self._on_event({"ev": "spawn_failed", "node": node, "epoch": epoch, "error": text}, b"")
        elif place.leaving is not None:
            place.send(place.leaving)
        elif place.order is not None:
            place.send(place.order)
            if place.ready == place.order["epoch"]:
                place.send({"op": "ready", "epoch": place.ready})
        if not self.absent():
            self._all_here.set()

    async def _listen(self, node: str, place: _Place, reader: asyncio.StreamReader, decoder: frames.Decoder) -> None:
        with contextlib.suppress(ConnectionError):
            while (event := await _next(reader, decoder)) is not None:
                kind, epoch = event.get("ev"), int(event.get("epoch") or 0)
                if kind == "exit" and epoch <= place.exited:
                    continue
                if kind == "exit":
                    place.exited = epoch
                if kind == "usage":
                    place.used = epoch, Use(int(event["pss"]), int(event["rss"]), float(event["cpu_s"]))
                if kind in ("exit", "spawn_failed"):
                    self._on_event({**event, "node": node}, b"")

    def _lost(self, node: str, place: _Place) -> None:
        """Report the node of a container that has ended without a word."""
        if place.leaving is not None or place.order is None or place.exited >= place.order["epoch"]:
            return
        epoch = place.exited = place.order["epoch"]
        event = {"ev": "exit", "node": node, "epoch": epoch, "pid": 0, "code": 128 + signals.SIGKILL}
        self._on_event({**event, "signal": "SIGKILL", "oom": None, "tail": [], "final": True}, b"")

    async def _drain(self, writer: asyncio.StreamWriter) -> None:
        await asyncio.shield(self._on_drain())
        with contextlib.suppress(OSError):
            writer.write(frames.encode({"op": "drained"}))
            await writer.drain()


def compatible(theirs: str, ours: str) -> bool:
    """Whether a node image's version is this one or the previous minor one."""
    try:
        their_major, their_minor = (int(part) for part in theirs.split(".")[:2])
        major, minor = (int(part) for part in ours.split(".")[:2])
    except ValueError:
        return False
    return their_major == major and minor - 1 <= their_minor <= minor


async def _next(reader: asyncio.StreamReader, decoder: frames.Decoder) -> dict[str, Any] | None:
    """Give the next frame's header; None at the end of the connection."""
    while True:
        for header, _ in decoder.feed(b""):
            return header
        data = await reader.read(_READ_BYTES)
        if not data:
            return None
        for header, _ in decoder.feed(data):
            return header
