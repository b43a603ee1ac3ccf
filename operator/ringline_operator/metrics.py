"""The operator's own metrics, scraped by Prometheus."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric

from ringline_operator.observe import Cache, WorkQueue

PHASES = ("Pending", "Starting", "Running", "Stopping", "Succeeded", "Failed")


class OperatorMetrics:
    """Counts what the operator does and, when asked, what its cache holds."""

    def __init__(self, cache: Cache, queue: WorkQueue) -> None:
        self._cache = cache
        self._queue = queue
        self.registry = CollectorRegistry()
        self._duration = Histogram(
            "ringline_operator_reconcile_seconds", "Duration of one look at a pipeline.", registry=self.registry
        )
        self.registry.register(self)
        self._server: Any = None

    def serve(self, port: int) -> None:
        """Answer scrapes at `port`, in a thread of its own."""
        self._server = start_http_server(port, registry=self.registry)

    def close(self) -> None:
        """Stop answering."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()

    def reconciled(self, seconds: float) -> None:
        """Note one look."""
        self._duration.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges that are read from the cache."""
        sessions = GaugeMetricFamily(
            "ringline_operator_sessions", "Sessions by pipeline and phase.", labels=["namespace", "pipeline", "phase"]
        )
        unclaimed = GaugeMetricFamily(
            "ringline_operator_sessions_unclaimed",
            "Ready sessions that can be claimed.",
            labels=["namespace", "pipeline"],
        )
        for (namespace, pipeline), group in list(self._cache.groups.items()):
            phases = Tally(session.phase or "Pending" for session in group.sessions.values())
            for phase in PHASES:
                sessions.add_metric([namespace, pipeline, phase], phases[phase])
            ready = sum(1 for pod in group.pods.values() if pod.claimable)
            unclaimed.add_metric([namespace, pipeline], ready)
        yield sessions
        yield unclaimed
        depth = GaugeMetricFamily("ringline_operator_queue_depth", "Pipelines that wait for a look.")
        depth.add_metric([], len(self._queue))
        yield depth
