"""Ports and ends: what is declared, what connections name, and what stays open."""

from __future__ import annotations

from typing import Any

import pytest

from ringline.graph.draft import whole
from ringline.graph.wiring import Wiring, wire
from ringline.names import HOST
from tests.unit.graph.graphs import CATALOG, chain, edge, node, read


def wired(**spec: Any) -> Wiring:
    return wire(whole(read(**spec)), CATALOG)


def ends(wiring: Wiring, role: str) -> list[tuple[str, str, str]]:
    """Name, node and port of every input or output."""
    found = [found for found in wiring.edges if found.role == role]
    if role == "input":
        return [(one.end, one.consumer, one.consumer_port) for one in found]
    return [(one.end, one.producer, one.producer_port) for one in found]


@pytest.mark.parametrize(
    ("type_name", "inputs", "outputs"),
    [
        ("thing", {"input": "any"}, {"output": "any"}),
        ("vad", {"audio": "audio"}, {"speech": "audio", "events": "json"}),
        ("recognizer", {"audio": "audio"}, {"text": "text"}),
        ("tone", {}, {"audio": "audio"}),
        ("sink", {"audio": "audio"}, {}),
        ("mix", {"input": "audio"}, {"audio": "audio"}),
        ("tee", {"input": "any"}, {"output": "any"}),
    ],
)
def test_a_lone_node_has_its_declared_ports_or_one_of_each(
    type_name: str, inputs: dict[str, str], outputs: dict[str, str]
) -> None:
    wiring = wired(nodes=[node("a", type_name)])
    assert wiring.ports["a"].inputs == inputs
    assert wiring.ports["a"].outputs == outputs
    assert len(ends(wiring, "input")) == len(inputs)
    assert len(ends(wiring, "output")) == len(outputs)


def test_a_named_port_takes_the_place_of_the_default() -> None:
    wiring = wired(nodes=[node("a"), node("b")], channels=[edge("a.words", "b.sentence")])
    assert wiring.ports["a"].outputs == {"words": "any"}
    assert wiring.ports["b"].inputs == {"sentence": "any"}
    assert ends(wiring, "input") == [("a", "a", "input")]
    assert ends(wiring, "output") == [("b", "b", "output")]


def test_one_open_port_is_named_by_its_node_several_by_node_and_port() -> None:
    wiring = wired(nodes=[node("v", "vad"), node("s", "sink")], channels=[edge("v.speech", "s.audio")])
    assert ends(wiring, "output") == [("v", "v", "events")]
    assert ends(wired(nodes=[node("v", "vad")]), "output") == [("v.speech", "v", "speech"), ("v.events", "v", "events")]


def test_a_declared_end_closes_its_port_and_keeps_its_name() -> None:
    spec: dict[str, Any] = {
        "inputs": [{"name": "mic", "to": "a.input"}],
        "outputs": [{"name": "ear", "from": "b.output"}],
    }
    wiring = wired(**chain("a", "b"), **spec)
    assert ends(wiring, "input") == [("mic", "a", "input")]
    assert ends(wiring, "output") == [("ear", "b", "output")]
    assert [found.place for found in wiring.edges] == ["spec.channels[0]", "spec.inputs[0]", "spec.outputs[0]"]


def test_an_implied_end_belongs_to_its_node_and_says_nothing_about_its_flow() -> None:
    implied = [found for found in wired(**chain("a", "b")).edges if found.flow is None]
    assert [(found.place, found.role) for found in implied] == [("spec.nodes[0]", "input"), ("spec.nodes[1]", "output")]


def test_the_applications_side_is_the_host() -> None:
    wiring = wired(nodes=[node("a")])
    assert [(found.producer, found.consumer) for found in wiring.edges] == [(HOST, "a"), ("a", HOST)]
    assert wiring.names() == ["input_to_a", "a_to_output"]


def test_several_inputs_of_a_node_are_told_apart_by_its_ports_not_by_their_names() -> None:
    given = [{"name": "left-hand", "to": "m.a"}, {"name": "right-hand", "to": "m.b"}]
    assert wired(nodes=[node("m", "mix")], inputs=given).names() == ["input_to_m.a", "input_to_m.b", "m_to_output"]


def test_a_wildcard_side_is_open_and_a_declared_one_closed() -> None:
    ports = wired(nodes=[node("m", "mix"), node("t", "tee"), node("x")]).ports
    assert [(ports[name].inputs_closed, ports[name].outputs_closed) for name in "mtx"] == [
        (False, True), (True, False), (False, False),
    ]  # fmt: skip


def test_of_two_nodes_with_one_name_only_the_first_has_ends() -> None:
    wiring = wired(nodes=[node("a"), node("b"), node("a")])
    assert [found.place for found in wiring.edges if found.role == "input"] == ["spec.nodes[0]", "spec.nodes[1]"]
