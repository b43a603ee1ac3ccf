"""The WebSocket ingress of a session in a pod: clients send into its inputs and hear its outputs (docs/ingress.md).

Off without a token. Losing a client never hurts the session: an input goes on with the next client, an output is read on
whether or not anybody listens, and who reads too slowly is let go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from ringline.data import RuntimeData
from ringline.errors import DataError, RinglineError
from ringline.host.gateway import Gateway
from ringline.host.gateway_http import response
from ringline.host.ingress_door import MAX_CLIENTS, Door, Refusal, Wish, chosen
from ringline.host.ingress_forms import RINGLINE, Form, Frames, Pcm
from ringline.host.ingress_rates import Bucket
from ringline.host.outlets import Outlets

log = logging.getLogger("ringline.ingress")
QUIET: Final = logging.getLogger("ringline.ingress.http")
QUIET.setLevel(logging.ERROR)

SLOW_S: Final = 5.0
"""A listener whose buffers stay full so long is let go: it would hold up the output for everybody."""
MESSAGES_PER_S: Final = 2000.0
BURST: Final = 4000.0
CLOSE_BUSY: Final = 4409
CLOSE_FAILED: Final = 1011


class WebSocketIngress:
    """Serves the port while the session runs. `port` 0 takes a free one; the attribute tells which."""

    def __init__(self, gateway: Gateway, *, token: str, port: int, address: str | None = None) -> None:
        self.port = port
        self._gateway = gateway
        self._token = token
        self._address = address
        self._door = Door(token, tuple(gateway.plan.inputs), tuple(gateway.plan.outputs))
        self._outlets = Outlets(_Outputs(gateway), tuple(gateway.plan.outputs))
        self._fed: set[str] = set()
        self._clients = 0
        self._wishes: dict[ServerConnection, Wish] = {}

    async def run(self) -> None:
        """Read the outputs and serve clients from the moment that the session runs; run this as a task."""
        await self._gateway.begun.wait()
        async with self._outlets:
            if not self._token:
                self._gateway.serving = True
                await self._outlets.finished()
                return
            most = self._gateway.plan.runtime.max_message_size + (64 << 10) + 4
            async with serve(
                self._client,
                self._address,
                self.port,
                process_request=self._admit,
                select_subprotocol=_select,
                max_size=most,
                compression=None,
                logger=QUIET,
            ) as server:
                self.port = next(iter(server.sockets)).getsockname()[1]
                self._gateway.serving = True
                await asyncio.Event().wait()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        offered = [
            offer.strip() for value in request.headers.get_all("Sec-WebSocket-Protocol") for offer in value.split(",")
        ]
        try:
            wish = self._door.admit(request.path, request.headers.get("Authorization", ""), offered)
            if wish.input in self._fed:
                raise Refusal(HTTPStatus.CONFLICT, f"input {wish.input!r} is being fed by somebody else")
            if self._clients >= MAX_CLIENTS or self._gateway.phase != "Running":
                raise Refusal(
                    HTTPStatus.SERVICE_UNAVAILABLE, f"the session is {self._gateway.phase}, {self._clients} clients"
                )
        except Refusal as refusal:
            return response(refusal.status, f"{refusal}\n".encode())
        self._wishes[connection] = wish
        return None

    async def _client(self, connection: ServerConnection) -> None:
        wish = self._wishes.pop(connection)
        if wish.input in self._fed:  # two shook hands in the same moment
            await connection.close(CLOSE_BUSY, "the input is being fed by somebody else")
            return
        self._clients += 1
        self._fed |= {wish.input} - {""}
        try:
            await self._serve(connection, wish)
        except ConnectionClosed:
            pass  # a client may leave whenever it likes
        finally:
            self._clients -= 1
            self._fed.discard(wish.input)

    async def _serve(self, connection: ServerConnection, wish: Wish) -> None:
        most = self._gateway.plan.runtime.max_message_size
        try:
            ours = connection.subprotocol == RINGLINE
            form: Form = Frames(most) if ours else Pcm(wish.rate, wish.channels)
            client = _Client(self._gateway, self._outlets, connection, form, wish)
            await client.serve(most)
        except RinglineError as error:
            await connection.close(1007 if isinstance(error, DataError) else CLOSE_FAILED, _short(str(error)))


class _Outputs:
    """The gateway as what outlets read from."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def receive(self, node_id: str, *, timeout: float | None = None) -> RuntimeData:
        return await self._gateway.receive_output(node_id, timeout)


class _Client:
    """One connection, let in."""

    def __init__(
        self, gateway: Gateway, outlets: Outlets, connection: ServerConnection, form: Form, wish: Wish
    ) -> None:
        self._gateway = gateway
        self._outlets = outlets
        self._connection = connection
        self._form = form
        self._wish = wish
        self._bucket = Bucket(MESSAGES_PER_S, BURST)
        self._taken = 0

    async def serve(self, max_message_bytes: int) -> None:
        """Hear and tell until the client leaves or the session's end."""
        await self._say(
            op="opened", input=self._wish.input, output=self._wish.output, max_message_bytes=max_message_bytes
        )
        outlet = self._outlets.get(self._wish.output) if self._wish.output else None
        if outlet is not None:
            await outlet.listen(self._hand_over)
        try:
            async for wire in self._connection:
                await self._bucket.take()
                await self._hear(wire)
        finally:
            if outlet is not None:
                outlet.leave(self._hand_over)

    async def _hear(self, wire: str | bytes) -> None:
        try:
            header, data = self._form.read(wire)
            await self._do(header, data)
        except RinglineError as error:
            await self._say(op="error", error=str(error), kind=type(error).__name__)
            if not isinstance(error, DataError):
                raise

    async def _do(self, header: dict[str, Any], data: RuntimeData | None) -> None:
        operation, name = header["op"], self._wish.input
        if operation == "flush":
            await self._gateway.flush(self._gateway.plan.node(str(header.get("node") or self._first_node())).name)
            await self._say(op="flushed")
        elif operation == "parameters":
            await self._parameters(header)
        elif not name:
            raise DataError(f"this connection has no input; {operation!r:.40} has nowhere to go")
        elif data is not None:
            await self._gateway.take(name, data)
            self._taken += 1
        elif operation in ("end", "done"):
            if operation == "end":
                self._gateway.end(self._gateway.plan.input_channel(name))
            await self._say(op="closed", messages=self._taken)
        else:
            raise DataError(f"an input takes data, end, done, flush or parameters, not {operation!r:.40}")

    async def _parameters(self, header: dict[str, Any]) -> None:
        values, node = header.get("values"), header.get("node")
        if not isinstance(values, dict):
            raise DataError('parameters need {"values": {…}}')
        if node is None:
            refused = await self._gateway.deliver(values)
        else:
            await self._gateway.parameters(self._gateway.plan.node(str(node)).name, values)
            refused = []
        await self._say(op="parameters", ok=not refused, refused=refused)

    def _first_node(self) -> str:
        """Give the node whose flush interrupts an answer: the one that takes this connection's input."""
        plan = self._gateway.plan
        if self._wish.input:
            return plan.input_channel(self._wish.input).consumer
        return plan.output_channel(self._wish.output).producer

    async def _hand_over(self, data: RuntimeData | None) -> None:
        """Take a message of the output; None is its end."""
        try:
            async with asyncio.timeout(SLOW_S):
                if data is None:
                    await self._over()
                    return
                for piece in self._form.write(data):
                    await self._connection.send(piece)
        except TimeoutError:
            log.warning("a client of output %s reads too slowly and is let go", self._wish.output)
            self._connection.transport.abort()
        except ConnectionClosed:
            pass  # its own loop sees it too

    async def _over(self) -> None:
        """Say that the output has ended, or why the session has."""
        failure = self._gateway.status().message
        if failure:
            await self._say(op="error", error=failure, kind=self._gateway.reason)
            await self._connection.close(CLOSE_FAILED, _short(failure))
            return
        await self._say(op="end")
        if not self._wish.input:
            await self._connection.close()

    async def _say(self, **header: Any) -> None:
        await self._connection.send(self._form.say(header))


def _select(_connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    found = chosen(offered)
    return Subprotocol(found) if found else None


def _short(text: str) -> str:
    """Fit a close reason: 123 bytes."""
    return text.encode()[:120].decode(errors="ignore")
