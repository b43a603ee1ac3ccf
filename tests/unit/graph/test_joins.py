"""Which joins may wait for ever, and what `validate` says of the others."""

from __future__ import annotations

from typing import Any

import pytest

from ringline.errors import Problem
from ringline.graph.catalog import load_catalog
from ringline.graph.validate import validate
from tests.unit.graph.graphs import edge, node, read

WAITING = {"join": {"wait_ms": 0}, "reorder": {"wait_ms": 0}, "mix": {"wait_ms": 0}}


def problems(catalog: dict[str, Any] | None = None, **spec: Any) -> list[Problem]:
    return validate(read(**spec), catalog)


def diamond(left: str = "pass_through", right: str = "pass_through", **right_edge: Any) -> dict[str, Any]:
    """Build split → left, right → both, a join that waits for ever; `right_edge` changes the channel to `right`."""
    return {
        "nodes": [
            node("split", "tee"),
            node("left", left),
            node("right", right),
            node("both", "join", config={"wait_ms": 0}),
        ],
        "channels": [
            edge("split.a", f"left.{port(left)}"),
            edge("split.b", f"right.{port(right)}", **right_edge),
            edge("left.output", "both.x"),
            edge("right.output", "both.y"),
        ],
    }


def port(kind: str) -> str:
    return next(iter(dict[str, str](load_catalog().get(kind, {"inputs": {"input": ""}})["inputs"])))


def test_a_diamond_whose_branches_give_one_for_one_may_wait_for_ever() -> None:
    assert problems(**diamond()) == []


def test_branches_may_have_any_length_and_begin_at_one_port_of_any_node() -> None:
    nodes = [
        node("camera", "video_pattern_source"),
        node("hop", "pass_through"),
        node("faces", "face_detector"),
        node("draw", "draw", config={"wait_ms": 0}),
    ]
    joins = [
        edge("camera.video", "hop.input"),
        edge("hop.output", "faces.video"),
        edge("faces.detections", "draw.detections"),
        edge("camera.video", "draw.video"),
    ]
    assert problems(nodes=nodes, channels=joins) == []


def test_a_branch_that_may_send_fewer_needs_a_limit() -> None:
    [problem] = problems(**diamond(right="throttle") | throttled())
    assert str(problem) == (
        "spec.nodes[3].config.wait_ms: 0 lets node 'both' (join) wait for ever, but its inputs 'x' and 'y' need not get one message "
        "each: node 'right' (throttle) need not send one message for each that it gets; "
        "give the longest wait in milliseconds"
    )


def throttled() -> dict[str, Any]:
    nodes = diamond(right="throttle")["nodes"]
    nodes[2]["config"] = {"max_per_s": 1}
    return {"nodes": nodes}


@pytest.mark.parametrize(
    ("flow", "reason"),
    [
        ({"overflow": "Latest"}, "drops messages (overflow Latest)"),
        ({"overflow": "DropOldest"}, "drops messages (overflow DropOldest)"),
        ({"overflow": "DropNewest"}, "drops messages (overflow DropNewest)"),
        ({"overflow": "Deadline", "deadlineMilliseconds": 5}, "drops messages (overflow Deadline)"),
        ({"blockTimeoutMilliseconds": 5}, "drops messages (blockTimeoutMilliseconds)"),
    ],
)
def test_a_channel_that_may_drop_needs_a_limit(flow: dict[str, Any], reason: str) -> None:
    [problem] = problems(**diamond(**flow))
    assert problem.place == "spec.nodes[3].config.wait_ms"
    assert f"the channel from split.b to right.input {reason}" in problem.message


def test_without_back_pressure_every_channel_may_drop_but_those_that_say_block() -> None:
    [problem] = problems(**diamond(), runtime={"enableBackpressure": False})
    assert "drops when it is full (enableBackpressure: false)" in problem.message
    blocking = diamond(overflow="Block")
    for channel in blocking["channels"]:
        channel["overflow"] = "Block"
    assert problems(**blocking, runtime={"enableBackpressure": False}) == []


@pytest.mark.parametrize("kind", sorted(WAITING))
def test_streams_of_different_origin_need_a_limit(kind: str) -> None:
    nodes = [node("one", "gain"), node("two", "gain"), node("both", kind, config=WAITING[kind])]
    [problem] = problems(nodes=nodes, channels=[edge("one.audio", "both.x"), edge("two.audio", "both.y")])
    assert problem.place == "spec.nodes[2].config.wait_ms"
    assert "one comes from the session input 'one'; one comes from the session input 'two'" in problem.message


def test_work_that_was_shared_out_needs_a_limit_to_come_together() -> None:
    nodes = [
        node("share", "round_robin"),
        node("one", "pass_through"),
        node("two", "pass_through"),
        node("merge", "reorder", config={"wait_ms": 0}),
    ]
    joins = [
        edge("share.a", "one.input"),
        edge("share.b", "two.input"),
        edge("one.output", "merge.a"),
        edge("two.output", "merge.b"),
    ]
    [problem] = problems(nodes=nodes, channels=joins)
    assert "node 'share' (round_robin) need not send one message for each" in problem.message


def test_a_limit_a_single_input_and_the_default_are_all_sound() -> None:
    limited = diamond(right="throttle") | throttled()
    limited["nodes"][3]["config"] = {"wait_ms": 100}
    assert problems(**limited) == []
    del limited["nodes"][3]["config"]
    assert problems(**limited) == []
    alone: dict[str, Any] = {
        "nodes": [node("a", "throttle", config={"max_per_s": 1}), node("one", "join", config={"wait_ms": 0})]
    }
    assert problems(**alone, channels=[edge("a.output", "one.x")]) == []


def test_a_feedback_channel_is_no_input_to_wait_for() -> None:
    nodes = [node("both", "join", config={"wait_ms": 0}), node("hop", "pass_through")]
    joins = [edge("both.output", "hop.input"), edge("hop.output", "both.back", feedback=True)]
    assert problems(nodes=nodes, channels=joins, inputs=[{"name": "in", "to": "both.x"}]) == []


def test_an_authors_type_may_say_the_same_of_itself() -> None:
    mine = {
        "mine": {"inputs": {"*": "any"}, "outputs": {"output": "any"}, "wait_limit": "patience_ms"},
        "half": {"inputs": {"input": "any"}, "outputs": {"output": "any"}},
        "faithful": {"inputs": {"input": "any"}, "outputs": {"output": "any"}, "one_to_one": True},
    }
    spec = diamond(right="half")
    spec["nodes"][3] = node("both", "mine", config={"patience_ms": 0})
    [problem] = problems({**load_catalog(), **mine}, **spec)
    assert problem.place == "spec.nodes[3].config.patience_ms"
    spec["nodes"][2] = node("right", "faithful")
    assert problems({**load_catalog(), **mine}, **spec) == []


def test_a_cycle_on_the_way_ends_the_search() -> None:
    nodes = [node("a", "pass_through"), node("b", "pass_through"), node("both", "join", config={"wait_ms": 0})]
    joins = [edge("a.output", "b.input"), edge("b.output", "a.input", feedback=True), edge("b.output", "both.x")]
    found = problems(nodes=nodes, channels=joins, inputs=[{"name": "in", "to": "both.y"}])
    assert any("wait for ever" in problem.message for problem in found)
