"""A session's figures as Prometheus text: names, units, labels; and the server that shows them."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ringline.errors import SessionError
from ringline.metrics.collector import SessionCollector, histogram
from ringline.metrics.facts import NodeFacts, SessionFacts
from ringline.metrics.server import MetricsServer
from ringline.shm import ChannelStats, LatencyHistogram, NodeStats


class FakeSource:
    """A session of one node whose figures are known."""

    gone = False

    def facts(self) -> SessionFacts:
        node = NodeFacts(
            up=True,
            restarts=2,
            exits={"Killed": 1, "Error": 1},
            health_failures={"timeout": 3},
            pss_bytes=1000,
            rss_bytes=2000,
            cpu_s=1.5,
            counters={"agent_steps": 12.0},
            gauges={"agents": 3.0},
        )
        return SessionFacts("s1", "running", 4096, {"vad": node, "asr": NodeFacts(up=False)})

    def channel_stats(self) -> Mapping[str, ChannelStats]:
        if self.gone:
            raise RuntimeError("no shared memory any more")
        dropped = {"overwritten": 4, "flushed": 0}
        return {"vad_to_asr": ChannelStats("vad_to_asr", "vad", "asr", 10, 100, 3, 16, dropped, 0.25, 7, 1, False)}

    def node_stats(self) -> Mapping[str, NodeStats]:
        latency = LatencyHistogram((1, 0, 2, *[0] * 28, 1), 0.5, 4)
        return {
            "vad": NodeStats("vad", 1, True, 1, 800, 80, 5, latency),
            "@host": NodeStats("@host", 1, True, 0, 0, 0, 5, latency),
        }


def samples(source: FakeSource) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    registry = CollectorRegistry()
    registry.register(SessionCollector(source))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(found: dict[tuple[str, tuple[tuple[str, str], ...]], float], name: str, **labels: str) -> float:
    return found[name, tuple(sorted({"session": "s1", **labels}.items()))]


def test_channels_have_messages_bytes_drops_and_depth() -> None:
    found = samples(FakeSource())
    ends = {"channel": "vad_to_asr", "producer": "vad", "consumer": "asr"}
    assert value(found, "ringline_channel_messages_total", **ends) == 10
    assert value(found, "ringline_channel_bytes_total", **ends) == 100
    assert value(found, "ringline_channel_depth_messages", **ends) == 3
    assert value(found, "ringline_channel_capacity_messages", **ends) == 16
    assert value(found, "ringline_channel_blocked_seconds_total", **ends) == 0.25
    assert value(found, "ringline_channel_wakeups_total", **ends) == 7
    assert value(found, "ringline_channel_dropped_messages_total", **ends, reason="overwritten") == 4
    assert value(found, "ringline_channel_dropped_messages_total", **ends, reason="flushed") == 0


def test_nodes_have_exits_restarts_memory_and_health() -> None:
    found = samples(FakeSource())
    assert value(found, "ringline_node_up", node="vad") == 1
    assert value(found, "ringline_node_up", node="asr") == 0
    assert value(found, "ringline_node_restarts_total", node="vad") == 2
    assert value(found, "ringline_node_exits_total", node="vad", reason="Killed") == 1
    assert value(found, "ringline_node_health_failures_total", node="vad", reason="timeout") == 3
    assert value(found, "ringline_node_memory_bytes", node="vad") == 1000
    assert value(found, "ringline_node_resident_bytes", node="vad") == 2000
    assert value(found, "ringline_node_cpu_seconds_total", node="vad") == 1.5
    assert value(found, "ringline_node_heap_used_bytes", node="vad") == 80
    assert value(found, "ringline_node_busy_seconds", node="vad") > 0
    assert value(found, "ringline_arena_bytes") == 4096
    assert value(found, "ringline_session_processes") == 1
    assert value(found, "ringline_session_state", state="running") == 1


def test_latencies_are_histograms_per_node_and_from_end_to_end() -> None:
    found = samples(FakeSource())
    assert value(found, "ringline_node_latency_seconds_count", node="vad") == 4
    assert value(found, "ringline_node_latency_seconds_sum", node="vad") == 0.5
    assert value(found, "ringline_node_latency_seconds_bucket", node="vad", le="1e-06") == 1
    assert value(found, "ringline_node_latency_seconds_bucket", node="vad", le="4e-06") == 3
    assert value(found, "ringline_session_latency_seconds_count") == 4
    assert not any(dict(labels).get("node") == "@host" and "latency" in name for name, labels in found)


def test_every_name_has_our_prefix() -> None:
    assert all(name.startswith("ringline_") for name, _ in samples(FakeSource()))


def test_buckets_are_cumulative_and_end_with_all() -> None:
    buckets = histogram((1, 2, 3, *[0] * 28, 10))
    assert [count for _, count in buckets[:4]] == [1, 3, 6, 6]
    assert buckets[-1] == ("+Inf", 16.0)
    assert float(buckets[-2][0]) > 30


def test_a_session_that_is_ending_still_shows_its_facts() -> None:
    source = FakeSource()
    source.gone = True
    found = samples(source)
    assert value(found, "ringline_node_restarts_total", node="vad") == 2
    assert not any(name.startswith("ringline_channel") for name, _ in found)


def test_the_server_listens_on_the_loopback_interface_until_it_is_closed() -> None:
    server = MetricsServer(SessionCollector(FakeSource()), 0)
    url = f"http://127.0.0.1:{server.port}/metrics"
    with urllib.request.urlopen(url) as answer:
        assert b'ringline_node_up{node="vad",session="s1"} 1.0' in answer.read()
    with pytest.raises(SessionError, match=f"metrics port {server.port} on 127.0.0.1 can't be had"):
        MetricsServer(SessionCollector(FakeSource()), server.port)
    server.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url)


def test_what_nodes_count_themselves_is_shown_by_name() -> None:
    found = samples(FakeSource())
    own = {key: each for key, each in found.items() if key[0].startswith("ringline_node_custom")}
    assert own == {
        ("ringline_node_custom_total", (("name", "agent_steps"), ("node", "vad"), ("session", "s1"))): 12,
        ("ringline_node_custom_value", (("name", "agents"), ("node", "vad"), ("session", "s1"))): 3,
    }
