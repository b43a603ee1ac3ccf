"""The metrics page as Prometheus' own linter would read it: names, units, help, labels, values."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ringline.errors import NodeError
from ringline.metrics.collector import SessionCollector, histogram
from ringline.metrics.facts import NodeFacts, SessionFacts
from ringline.node.counters import MOST_NAMES, NodeMetrics
from ringline.shm import ChannelStats, LatencyHistogram, NodeStats
from ringline.shm.stats import BUCKET_BOUNDS_S

NODE = NodeFacts(True, 1, {"Killed": 1}, {"timeout": 2}, 10, 20, 0.5, {"agent_steps": 7}, {"agents": 2})
ODD = st.sampled_from('aZ9-_ö" \\\n')
CHANNEL = ChannelStats("a_to_b", "a", "b", 1, 2, 3, 4, {"newest": 5}, 0.5, 6, 7, False)
LATENCY = LatencyHistogram((1, *[0] * 30, 2), 0.5, 3)
STATS = {name: NodeStats(name, 1, True, 0, 800, 80, 5, LATENCY) for name in ("a", "b", "@host")}


@dataclasses.dataclass
class Figures:
    """A session of two nodes."""

    session: str = "s1"
    node: str = "a"
    state: str = "running"

    def facts(self) -> SessionFacts:
        return SessionFacts(self.session, self.state, 4096, {self.node: NODE, "b": NODE})

    def channel_stats(self) -> Mapping[str, ChannelStats]:
        return {"a_to_b": CHANNEL, "b_to_c": dataclasses.replace(CHANNEL, name="b_to_c", dropped={})}

    def node_stats(self) -> Mapping[str, NodeStats]:
        return STATS


def text(source: Figures) -> str:
    registry = CollectorRegistry()
    registry.register(SessionCollector(source))
    return generate_latest(registry).decode()


def families(source: Figures | None = None) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text(source or Figures()))}


NAMES = sorted(families())


@pytest.mark.parametrize("name", NAMES)
def test_a_name_says_what_is_measured_in_which_base_unit(name: str) -> None:
    family = families()[name]
    assert re.fullmatch(r"ringline_(arena|session|node|channel)(_[a-z]+)*", name)
    words = name.split("_")
    assert not {"ms", "us", "ns", "minutes", "kb", "mb", "kilobytes", "megabytes", "percent", "count", "sum"} & set(
        words
    )
    assert words[-1] not in ("total", "bucket", "info")
    for unit in {"seconds", "bytes", "messages"} & set(words):
        assert words[-1] == unit
    assert family.type in ("counter", "gauge", "histogram")


@pytest.mark.parametrize("name", NAMES)
def test_each_family_has_a_sentence_and_its_samples_fit_its_type(name: str) -> None:
    family = families()[name]
    assert family.documentation.endswith(".")
    assert family.documentation[0].isupper() or family.documentation[0].isdigit()
    assert family.samples
    ends = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}[family.type]
    for sample in family.samples:
        assert sample.name in [name + end for end in ends]
        assert math.isfinite(sample.value)
        assert sample.value >= 0
        known = {"session", "node", "channel", "producer", "consumer", "reason", "state", "name", "le"}
        assert set(sample.labels) <= known
        assert sample.labels["session"] == "s1"


@pytest.mark.parametrize("name", NAMES)
def test_no_sample_is_there_twice(name: str) -> None:
    samples = [(sample.name, *sorted(sample.labels.items())) for sample in families()[name].samples]
    assert len(samples) == len(set(samples))


def test_the_page_explains_every_family_once_and_ends_with_a_line() -> None:
    page = text(Figures())
    helps = re.findall(r"^# HELP (\S+)", page, re.MULTILINE)
    types = re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)
    assert helps == types
    assert len(helps) == len(set(helps)) == len(NAMES)
    assert page.endswith("\n")


@settings(max_examples=30)
@given(st.text(ODD, max_size=12), st.text(ODD, min_size=1, max_size=12))
def test_whatever_a_label_says_the_page_can_be_read_back(session: str, node: str) -> None:
    found = families(Figures(session, node))
    assert {sample.labels["node"] for sample in found["ringline_node_up"].samples} == {node, "b"}
    assert {sample.labels["session"] for sample in found["ringline_arena_bytes"].samples} == {session}


@given(st.lists(st.integers(0, 1000), min_size=len(BUCKET_BOUNDS_S), max_size=len(BUCKET_BOUNDS_S) + 1))
def test_buckets_never_fall_and_the_last_one_holds_all(counts: list[int]) -> None:
    buckets = histogram(counts)
    values = [value for _, value in buckets]
    bounds = [float(bound) for bound, _ in buckets]
    assert values == sorted(values)
    assert bounds == sorted(set(bounds))
    assert (bounds[-1], values[-1]) == (math.inf, sum(counts))


@pytest.mark.parametrize("state", ["starting", "running", "failed"])
def test_one_state_at_a_time_is_one(state: str) -> None:
    [sample] = families(Figures(state=state))["ringline_session_state"].samples
    assert (sample.labels["state"], sample.value) == (state, 1.0)


# -- an author's own numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "1st", "Frames", "frames-seen", "größe", "a" * 62, "frames seen", "_hidden", "a\n"]
)
def test_a_name_that_prometheus_would_not_take_is_refused(name: str) -> None:
    with pytest.raises(NodeError, match="must be made of a-z, 0-9 and '_'"):
        NodeMetrics().counter(name)


def test_an_authors_mistakes_with_numbers_are_named() -> None:
    metrics = NodeMetrics()
    metrics.counter("frames").inc()
    with pytest.raises(NodeError, match="metric 'frames' is already a counter"):
        metrics.gauge("frames")
    with pytest.raises(NodeError, match=r"a counter can't shrink by 2\.5; use a gauge"):
        metrics.counter("frames").inc(-2.5)
    for number in range(MOST_NAMES - 1):
        metrics.gauge(f"gauge_{number}").set(number)
    with pytest.raises(NodeError, match=f"metric 'more' is one too many: a node has at most {MOST_NAMES}"):
        metrics.gauge("more")
    assert metrics.snapshot()["counters"] == {"frames": 1.0}
    assert len(metrics.snapshot()["gauges"]) == MOST_NAMES - 1
