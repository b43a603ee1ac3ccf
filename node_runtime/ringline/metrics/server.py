"""Serves metrics as Prometheus text, on the loopback interface only: `Session(metrics_port=…)`, `AgentPool(metrics_port=…)`."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.registry import Collector

from ringline.errors import SessionError

LOOPBACK: Final = "127.0.0.1"


class MetricsServer:
    """Answers ``GET /metrics`` until it is closed. `port` 0 takes a free one; the attribute `port` tells which.

    Raises `SessionError` if the port can't be had.
    """

    def __init__(self, collector: Collector, port: int) -> None:
        registry = CollectorRegistry()
        registry.register(collector)
        try:
            self._server, self._thread = start_http_server(port, addr=LOOPBACK, registry=registry)
        except OSError as error:
            raise SessionError(f"metrics port {port} on {LOOPBACK} can't be had: {error}; choose another") from error
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop serving; returns when the thread has ended."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
