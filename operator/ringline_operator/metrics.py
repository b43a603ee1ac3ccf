"""The operator's own metrics, scraped by Prometheus."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ringline_operator.observe import Cache, WorkQueue
from ringline_operator.views import SessionView

READY_BUCKETS_S: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80)
"""From a claim that takes a warm pod to an image that must be pulled; the API server's times have whole seconds."""
ACT_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
"""From one request to an idle API server to a burst that a slow one works off."""
METHODS: Final = ("GET", "POST", "PATCH", "PUT", "DELETE")
PHASES = ("Pending", "Starting", "Running", "Stopping", "Succeeded", "Failed")


class OperatorMetrics:
    """Counts what the operator does and, when asked, what its cache holds."""

    def __init__(self, cache: Cache, queue: WorkQueue) -> None:
        self._cache = cache
        self._queue = queue
        self.registry = CollectorRegistry()
        self._duration = Histogram(
            "ringline_operator_reconcile_seconds",
            "Duration of one look at a pipeline, which asks nobody.",
            registry=self.registry,
        )
        self._acts = Histogram(
            "ringline_operator_act_seconds",
            "From a decision about a session to its being carried out by the API server, the wait for a turn included.",
            ["urgent"],
            buckets=ACT_BUCKETS_S,
            registry=self.registry,
        )
        self._ready = Histogram(
            "ringline_operator_session_ready_seconds",
            "From a session's creation to its first readiness.",
            ["claimed"],
            buckets=READY_BUCKETS_S,
            registry=self.registry,
        )
        self.registry.register(self)
        self.leads: Callable[[], bool] = lambda: False
        """Whether this process acts; the operator gives the lease's answer once it has one."""
        self.requests: Callable[[], Mapping[str, int]] = dict
        """Requests sent to the API server by method; the operator's connections count them."""
        self.unwritten: Callable[[], int] = lambda: 0
        """Events that were dropped; their writer counts them."""
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

    def acted(self, seconds: float, *, urgent: bool) -> None:
        """Note that a decision was carried out. `urgent`: a user waited for it."""
        self._acts.labels(str(urgent).lower()).observe(seconds)

    def became_ready(self, session: SessionView, status: Mapping[str, Any], now: float) -> None:
        """Note that this status was written, if it declares the session ready for the first time, not after a restart."""
        if "readyTime" in status and "readyTime" not in session.status and not status.get("attempt"):
            self._ready.labels(str(session.is_claim).lower()).observe(max(0.0, now - session.created))

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
        wanted = GaugeMetricFamily(
            "ringline_operator_sessions_wanted",
            "Unclaimed sessions asked for: replicas, or 0 while suspended.",
            labels=["namespace", "pipeline"],
        )
        for (namespace, pipeline), group in list(self._cache.groups.items()):
            phases = Tally(session.phase or "Pending" for session in group.sessions.values())
            for phase in PHASES:
                sessions.add_metric([namespace, pipeline, phase], phases[phase])
            ready = sum(1 for pod in group.pods.values() if pod.claimable)
            unclaimed.add_metric([namespace, pipeline], ready)
            if group.pipeline is not None:
                wanted.add_metric([namespace, pipeline], 0 if group.pipeline.suspend else group.pipeline.replicas)
        yield from (sessions, unclaimed, wanted)
        leader = GaugeMetricFamily("ringline_operator_leader", "1 for the operator that holds the lease and acts.")
        leader.add_metric([], self.leads())
        yield leader
        requests = CounterMetricFamily(
            "ringline_operator_api_requests",
            "Requests sent to the API server, the watches not counted.",
            labels=["method"],
        )
        counts = self.requests()
        for method in METHODS:
            requests.add_metric([method], counts.get(method, 0))
        yield requests
        unwritten = CounterMetricFamily(
            "ringline_operator_events_dropped",
            "Kubernetes Events that were not written: too many, or refused by the API server.",
        )
        unwritten.add_metric([], self.unwritten())
        yield unwritten
        depth = GaugeMetricFamily("ringline_operator_queue_depth", "Pipelines that wait for a look.")
        depth.add_metric([], len(self._queue))
        yield depth
