"""A pool's figures as Prometheus metrics: as a library's collector, and served on the loopback interface."""

from __future__ import annotations

import os
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ringline.agents import AgentPool
from ringline.agents.gauges import PoolFacts, WorkerFacts
from ringline.agents.metrics import PoolCollector
from ringline.errors import AgentError, SessionError

HERE = "tests.integration.agents_code.pooled"
LABELS = ("pool", "worker", "outcome", "reason", "state", "le")


def samples(text: str) -> dict[tuple[str, ...], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation.endswith(".")
        for sample in family.samples:
            found[sample.name, *(sample.labels[name] for name in LABELS if name in sample.labels)] = sample.value
    return found


def test_a_collector_translates_what_a_pool_knows() -> None:
    latency = (0, 2, 1, *[0] * 29)
    w0 = WorkerFacts("w0", os.getpid(), 3, {"done": 2, "failed": 1}, {"Killed": 2}, 5, latency, 0.25, 4)
    w1 = WorkerFacts("w1", None, 0, {}, {}, 0, (0,) * 32, 0.0, 0)
    registry = CollectorRegistry()
    registry.register(PoolCollector("world", lambda: PoolFacts(2, 4, 5, 6, (w0, w1))))
    found = samples(generate_latest(registry).decode())
    assert found["ringline_pool_steps_total", "world", "w0", "done"] == 2
    assert found["ringline_pool_steps_total", "world", "w0", "failed"] == 1
    assert found["ringline_pool_worker_exits_total", "world", "w0", "Killed"] == 2
    assert found["ringline_pool_queue_steps", "world", "w0"] == 4
    assert found["ringline_pool_agents", "world", "w0"] == 3
    assert found["ringline_pool_agents_restarted_total", "world", "restored"] == 5
    assert found["ringline_pool_agents_restarted_total", "world", "anew"] == 6
    assert found["ringline_pool_step_seconds_count", "world", "w0"] == 3
    assert found["ringline_pool_step_seconds_sum", "world", "w0"] == 0.25
    assert found["ringline_pool_step_seconds_bucket", "world", "w0", "2e-06"] == 2
    assert (
        1 << 20
        < found["ringline_pool_memory_bytes", "world", "w0"]
        <= found["ringline_pool_resident_bytes", "world", "w0"]
    )
    assert ("ringline_pool_memory_bytes", "world", "w1") not in found  # it has no process now


def test_a_pool_serves_its_metrics_until_it_is_closed() -> None:
    with AgentPool("thread", threads=2, name="town", metrics_port=0) as pool:
        pool.add("a", f"{HERE}:Moody").result()
        assert pool.map([("a", ["echo", 1])] * 3) == [["a", 1]] * 3
        with pytest.raises(AgentError):
            pool.submit("a", ["fail"]).result()
        address = f"http://127.0.0.1:{pool.metrics_port}/metrics"
        with urllib.request.urlopen(address) as answer:
            found = samples(answer.read().decode())
        assert found["ringline_pool_steps_total", "town", "w0", "done"] == 3
        assert found["ringline_pool_steps_total", "town", "w0", "failed"] == 1
        assert found["ringline_pool_step_seconds_count", "town", "w0"] == 4
        with pytest.raises(SessionError, match="can't be had"):
            AgentPool("inline", metrics_port=pool.metrics_port).start()
    with pytest.raises(OSError):
        urllib.request.urlopen(address)
