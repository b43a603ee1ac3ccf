"""A pool's figures as Prometheus metrics, anew for each scrape: for `AgentPool(metrics_port=…)` and an application's own registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ringline.agents.gauges import PoolFacts, WorkerFacts
from ringline.host import procfs
from ringline.metrics.collector import histogram

_WORKER: Final = ("pool", "worker")


class PoolCollector(Collector):
    """A custom collector of one pool, for any `CollectorRegistry`. `name` is the label `pool`."""

    def __init__(self, name: str, facts: Callable[[], PoolFacts]) -> None:
        self._name = name
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        """All families; called by the registry, from its own thread."""
        facts = self._facts()
        yield from _steps(self._name, facts)
        yield from _gauges(self._name, facts)
        again = CounterMetricFamily(
            "ringline_pool_agents_restarted", "Agents that lived on after their worker's end.", labels=("pool", "state")
        )
        again.add_metric([self._name, "restored"], facts.restored)
        again.add_metric([self._name, "anew"], facts.anew)
        yield again


def _steps(pool: str, facts: PoolFacts) -> Iterator[Metric]:
    steps = CounterMetricFamily("ringline_pool_steps", "Steps by what became of them.", labels=[*_WORKER, "outcome"])
    seconds = HistogramMetricFamily("ringline_pool_step_seconds", "Time of one step in its worker.", labels=_WORKER)
    ends = CounterMetricFamily(
        "ringline_pool_worker_exits",
        "Ends of the worker's process; it is restarted after each.",
        labels=[*_WORKER, "reason"],
    )
    for worker in facts.workers:
        for outcome, count in worker.outcomes.items():
            steps.add_metric([pool, worker.name, outcome], count)
        for reason, count in worker.ends.items():
            ends.add_metric([pool, worker.name, reason], count)
        seconds.add_metric([pool, worker.name], histogram(worker.latency), worker.busy_s)
    yield from (steps, seconds, ends)


def _gauges(pool: str, facts: PoolFacts) -> Iterator[Metric]:
    queued = GaugeMetricFamily("ringline_pool_queue_steps", "Steps that are not answered yet.", labels=_WORKER)
    agents = GaugeMetricFamily("ringline_pool_agents", "Agents that live in the worker.", labels=_WORKER)
    memory = GaugeMetricFamily(
        "ringline_pool_memory_bytes", "Proportional set size of the worker's process.", labels=_WORKER
    )
    resident = GaugeMetricFamily(
        "ringline_pool_resident_bytes", "Resident set size; counts shared pages in full.", labels=_WORKER
    )
    for worker in facts.workers:
        queued.add_metric([pool, worker.name], worker.waiting)
        agents.add_metric([pool, worker.name], worker.agents)
        _add_memory(memory, resident, pool, worker)
    yield from (queued, agents, memory, resident)


def _add_memory(memory: GaugeMetricFamily, resident: GaugeMetricFamily, pool: str, worker: WorkerFacts) -> None:
    if worker.pid is not None:
        used = procfs.memory(worker.pid)
        memory.add_metric([pool, worker.name], used.pss)
        resident.add_metric([pool, worker.name], used.rss)
