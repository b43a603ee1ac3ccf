"""The gateway's port 9090: what the kubelet, the operator and Prometheus ask of a session. GET only, nothing can be changed here.

Served by `websockets`, which the ingress uses too, so that a pod needs no second HTTP library.
"""

from __future__ import annotations

import json
import logging
import socket
from http import HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from ringline.host.gateway import Gateway
from ringline.metrics.collector import SessionCollector

QUIET: Final = logging.getLogger("ringline.http")
"""Who probes and scrapes is no news."""
QUIET.setLevel(logging.ERROR)
_PLAIN: Final = "text/plain; charset=utf-8"
_OPEN_S: Final = 5.0


class StatusServer:
    """Answers /livez, /readyz, /metrics and /status on a listening socket."""

    def __init__(self, gateway: Gateway, listener: socket.socket) -> None:
        self._gateway = gateway
        self._listener = listener
        self._registry = CollectorRegistry()
        self._registry.register(SessionCollector(gateway))
        self._server: Server | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._server = await serve(
            _no_socket,
            sock=self._listener,
            process_request=self._answer,
            logger=QUIET,
            open_timeout=_OPEN_S,
            compression=None,
        )

    async def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _answer(self, _connection: ServerConnection, request: Request) -> Response:
        path = request.path.partition("?")[0]
        if path == "/livez":
            return response(HTTPStatus.OK, b"ok\n")
        if path == "/readyz":
            if self._gateway.ready:
                return response(HTTPStatus.OK, b"ok\n")
            return response(HTTPStatus.SERVICE_UNAVAILABLE, f"the session is {self._gateway.phase}\n".encode())
        if path == "/status":
            return response(HTTPStatus.OK, json.dumps(self._gateway.report()).encode(), "application/json")
        if path == "/metrics":
            return response(HTTPStatus.OK, generate_latest(self._registry), CONTENT_TYPE_LATEST)
        return response(HTTPStatus.NOT_FOUND, b"there are /livez, /readyz, /metrics and /status\n")


def response(status: HTTPStatus, body: bytes, content_type: str = _PLAIN) -> Response:
    """Make a whole answer, after which the connection ends."""
    headers = Headers({"Content-Type": content_type, "Content-Length": str(len(body)), "Connection": "close"})
    return Response(status.value, status.phrase, headers, body)


async def _no_socket(connection: ServerConnection) -> None:
    await connection.close()
