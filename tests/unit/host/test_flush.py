"""Which nodes and channels a flush covers: downstream, never upstream."""

from __future__ import annotations

import pytest

from ringline import Pipeline, RuntimeConfig
from ringline.graph.plan import SessionPlan
from ringline.host.flush import covered


@pytest.fixture(scope="module")
def diamond() -> SessionPlan:
    """mic → a → {b, c} → d → out, and e → d from aside."""
    pipeline = Pipeline("diamond")
    for name in "abcde":
        pipeline.add_node("anything", name)
    pipeline.connect("a", "out", "b", "in").connect("a", "out", "c", "in")
    pipeline.connect("b", "out", "d", "left").connect("c", "out", "d", "right").connect("e", "out", "d", "side")
    return pipeline.plan(RuntimeConfig(max_message_size=1 << 20))


@pytest.mark.parametrize(
    ("node", "nodes", "channels"),
    [
        ("a", "abcd", {"input_to_a", "a_to_b", "a_to_c", "b_to_d", "c_to_d", "d_to_output"}),
        ("b", "bd", {"a_to_b", "b_to_d", "d_to_output"}),
        ("d", "d", {"b_to_d", "c_to_d", "e_to_d", "d_to_output"}),
        ("e", "ed", {"input_to_e", "e_to_d", "d_to_output"}),
    ],
)
def test_a_flush_covers_what_lies_downstream(diamond: SessionPlan, node: str, nodes: str, channels: set[str]) -> None:
    found_nodes, found_channels = covered(node, diamond)
    assert set(found_nodes) == set(nodes)
    assert set(found_channels) == channels
    assert len(found_nodes) == len(set(found_nodes))


def test_a_cycle_is_walked_once() -> None:
    pipeline = Pipeline("cycle").add_node("anything", "a").add_node("anything", "b")
    pipeline.connect("a", "out", "b", "in").connect("b", "back", "a", "again", feedback=True)
    pipeline.input("microphone", to="a.in")
    nodes, channels = covered("b", pipeline.plan(RuntimeConfig(max_message_size=1 << 20)))
    assert set(nodes) == {"a", "b"}
    assert {"a_to_b", "b_to_a"} <= set(channels)
    assert not any(name.startswith("input") for name in channels)
