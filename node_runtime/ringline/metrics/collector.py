"""Translates a session's statistics into Prometheus metric families, anew for each scrape: nothing is counted twice.

Names are `ringline_*` with the unit as suffix; labels are session, node, channel, and reason where something was lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ringline.metrics.facts import NodeFacts, SessionFacts, Source
from ringline.names import HOST
from ringline.shm import ChannelStats, NodeStats
from ringline.shm.stats import BUCKET_BOUNDS_S

_CHANNEL: Final = ("session", "channel", "producer", "consumer")
_NODE: Final = ("session", "node")
_OWN: Final = ("session", "node", "name")
_BUCKETS: Final = 26
"""They reach 33 s, above which only +Inf tells."""


class SessionCollector(Collector):
    """A custom collector of one session, for any `CollectorRegistry`."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        """All families; called by the registry, from its own thread."""
        facts = self._source.facts()
        yield from _session(facts)
        yield from _nodes(facts)
        try:
            channels, nodes = self._source.channel_stats(), self._source.node_stats()
        except Exception:
            return  # the session is ending: its shared memory is gone, the facts are not
        yield from _channels(facts.session_id, channels)
        yield from _heaps(facts.session_id, nodes)
        yield from _latencies(facts.session_id, nodes)


def _session(facts: SessionFacts) -> Iterator[Metric]:
    size = GaugeMetricFamily("ringline_arena_bytes", "Size of the session's shared memory.", labels=["session"])
    size.add_metric([facts.session_id], facts.arena_bytes)
    count = GaugeMetricFamily("ringline_session_processes", "Living node processes.", labels=["session"])
    count.add_metric([facts.session_id], sum(node.up for node in facts.nodes.values()))
    state = GaugeMetricFamily("ringline_session_state", "1 for the state that it is in.", labels=["session", "state"])
    state.add_metric([facts.session_id, facts.state], 1)
    yield from (size, count, state)


def _nodes(facts: SessionFacts) -> Iterator[Metric]:
    gauges = {
        "up": ("ringline_node_up", "1 while the node's process lives."),
        "pss_bytes": ("ringline_node_memory_bytes", "Proportional set size of the node's process."),
        "rss_bytes": ("ringline_node_resident_bytes", "Resident set size; counts shared pages in full."),
    }
    for field, (name, text) in gauges.items():
        gauge = GaugeMetricFamily(name, text, labels=_NODE)
        for node, found in facts.nodes.items():
            gauge.add_metric([facts.session_id, node], float(getattr(found, field)))
        yield gauge
    for name, text, field in (
        ("ringline_node_restarts", "Restarts of the node.", "restarts"),
        ("ringline_node_cpu_seconds", "Processor time of the node's present process.", "cpu_s"),
    ):
        counter = CounterMetricFamily(name, text, labels=_NODE)
        for node, found in facts.nodes.items():
            counter.add_metric([facts.session_id, node], float(getattr(found, field)))
        yield counter
    yield _own(
        facts, CounterMetricFamily("ringline_node_custom", "A counter of the node's own.", labels=_OWN), "counters"
    )
    yield _own(
        facts, GaugeMetricFamily("ringline_node_custom_value", "A gauge of the node's own.", labels=_OWN), "gauges"
    )
    yield _by_reason(facts, "ringline_node_exits", "Ends of the node's process.", "exits")
    yield _by_reason(facts, "ringline_node_health_failures", "Failed health checks.", "health_failures")


def _own(facts: SessionFacts, family: Any, field: str) -> Metric:
    """Give what nodes count by `self.metrics`."""
    for node, found in facts.nodes.items():
        for name, value in getattr(found, field).items():
            family.add_metric([facts.session_id, node, name], value)
    return family  # type: ignore[no-any-return]


def _by_reason(facts: SessionFacts, name: str, text: str, field: str) -> Metric:
    counter = CounterMetricFamily(name, text, labels=[*_NODE, "reason"])
    for node, found in facts.nodes.items():
        for reason, count in _counts(found, field).items():
            counter.add_metric([facts.session_id, node, reason], count)
    return counter


def _counts(node: NodeFacts, field: str) -> Mapping[str, int]:
    counts: Mapping[str, int] = getattr(node, field)
    return counts


def _channels(session: str, channels: Mapping[str, ChannelStats]) -> Iterator[Metric]:
    counters = (
        ("ringline_channel_messages", "Messages put into the channel.", "message_count"),
        ("ringline_channel_bytes", "Payload bytes put into the channel.", "bytes_transferred"),
        ("ringline_channel_blocked_seconds", "Time that its writer waited for room.", "blocked_seconds"),
        ("ringline_channel_wakeups", "System calls made to wake its reader.", "wakeups"),
        ("ringline_channel_copies", "Payloads that had to be copied to be sent.", "copies"),
    )
    for name, text, field in counters:
        counter = CounterMetricFamily(name, text, labels=_CHANNEL)
        for stats in channels.values():
            counter.add_metric(_labels(session, stats), getattr(stats, field))
        yield counter
    for name, text, field in (
        ("ringline_channel_depth_messages", "Messages queued now.", "current_occupancy"),
        ("ringline_channel_capacity_messages", "Messages that fit.", "capacity"),
    ):
        gauge = GaugeMetricFamily(name, text, labels=_CHANNEL)
        for stats in channels.values():
            gauge.add_metric(_labels(session, stats), getattr(stats, field))
        yield gauge
    dropped = CounterMetricFamily(
        "ringline_channel_dropped_messages", "Messages lost, by reason.", labels=[*_CHANNEL, "reason"]
    )
    for stats in channels.values():
        for reason, count in stats.dropped.items():
            dropped.add_metric([*_labels(session, stats), reason], count)
    yield dropped


def _heaps(session: str, nodes: Mapping[str, NodeStats]) -> Iterator[Metric]:
    size = GaugeMetricFamily("ringline_node_heap_bytes", "The node's part of the shared memory.", labels=_NODE)
    used = GaugeMetricFamily("ringline_node_heap_used_bytes", "Part of it that is in use.", labels=_NODE)
    busy = GaugeMetricFamily("ringline_node_busy_seconds", "How long the work at hand takes already.", labels=_NODE)
    now = time.monotonic_ns()
    for name, stats in nodes.items():
        size.add_metric([session, name], stats.heap_bytes)
        used.add_metric([session, name], stats.heap_used_bytes)
        since = stats.busy_since_ns
        busy.add_metric([session, name], max(0, now - since) / 1e9 if since else 0.0)
    yield from (size, used, busy)


def _latencies(session: str, nodes: Mapping[str, NodeStats]) -> Iterator[Metric]:
    """Give the latencies. The host observes what comes out: its histogram is the one from end to end."""
    per_node = HistogramMetricFamily("ringline_node_latency_seconds", "Time of one process() call.", labels=_NODE)
    whole = HistogramMetricFamily(
        "ringline_session_latency_seconds", "From a message's entry into the session to its exit.", labels=["session"]
    )
    for name, stats in nodes.items():
        buckets, total = histogram(stats.latency.counts), stats.latency.sum_seconds
        if name == HOST:
            whole.add_metric([session], buckets, total)
        else:
            per_node.add_metric([session, name], buckets, total)
    yield from (per_node, whole)


def histogram(counts: Sequence[int]) -> list[tuple[str, float]]:
    """Turn counts per bucket into Prometheus' cumulative ones."""
    result, total = [], 0
    for bound_s, count in zip(BUCKET_BOUNDS_S[:_BUCKETS], counts, strict=False):
        total += count
        result.append((repr(bound_s), float(total)))
    return [*result, ("+Inf", float(sum(counts)))]


def _labels(session: str, stats: ChannelStats) -> list[str]:
    return [session, stats.name, stats.producer, stats.consumer]
