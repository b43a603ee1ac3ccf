"""From the object to what pods are made of, or to sentences that say what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from ringline.graph.session_plan import SessionPolicy
from ringline.quantities import parse_quantity
from ringline_operator.template import read_template
from tests.operator.manifests import CHANNELS, NODES, body, template


def test_a_good_pipeline_has_a_plan_and_no_problems() -> None:
    made = template()
    assert made.plan is not None
    assert [node.name for node in made.plan.nodes] == ["vad", "loud_meter"]
    assert parse_quantity(made.shm["needed"]) <= parse_quantity(made.shm["size"])


def test_the_view_says_what_the_spec_says() -> None:
    spec: dict[str, Any] = {
        "replicas": 4,
        "suspend": True,
        "updateStrategy": {"type": "Recreate"},
        "session": {"maxRestarts": 9},
    }
    view = template(**spec).view(body(**spec))
    assert (view.replicas, view.suspend, view.recreate, view.deleting) == (4, True, True, False)
    assert view.session == SessionPolicy(max_restarts=9)
    assert (view.namespace, view.name, view.uid, view.generation) == ("studio", "voice", "uid-voice", 3)


def test_a_pipeline_that_is_being_deleted_is_seen_as_such() -> None:
    dying = body()
    dying["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    assert template().view(dying).deleting


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"channels": [{"from": "vad.speech", "to": "loud_meter.audo"}]}, "node 'loud_meter' has no input port 'audo'"),
    ({"channels": [{"from": "vad.speech", "to": "nobody.audio"}]}, "nobody"),
    ({"channels": [{"from": "vad.events", "to": "loud_meter.audio"}]}, "json"),
    ({"channels": [*CHANNELS, *CHANNELS]}, "loud_meter.audio"),
    ({"channels": [{"from": "vad.speech", "to": "vad.audio"}]}, "vad"),
    ({"nodes": []}, "nodes"),
    ({"nodes": [NODES[0], NODES[0]]}, "vad"),
    ({"nodes": [NODES[0] | {"config": {"hangover": 1}}, NODES[1]]}, "hangover"),
    ({"nodes": [NODES[0] | {"env": [{"name": "LD_PRELOAD", "value": "x"}]}, NODES[1]]}, "LD_PRELOAD"),
    ({"nodes": [NODES[0] | {"securityContext": {}}, NODES[1]]}, "securityContext"),
    ({"pod": {"hostNetwork": True}}, "hostNetwork"),
    ({"runtime": {"shmSize": "1Mi"}}, "shmSize"),
    ({"runtime": {"maxProcessesPerSession": 1}}, "1"),
    ({"ingress": {"enabled": True}}, "tokenSecretRef"),
    ({"replicas": True}, "replicas"),
]


@pytest.mark.parametrize(("change", "words"), WRONG, ids=[words for _, words in WRONG])
def test_each_mistake_is_named(change: dict[str, Any], words: str) -> None:
    made = read_template(body(**change), None)
    assert made.plan is None
    assert made.resource is None
    assert any(words in problem for problem in made.problems), made.problems


def test_all_mistakes_are_named_at_once() -> None:
    made = read_template(body(channels=[{"from": "vad.x", "to": "loud_meter.y"}, {"from": "a.b", "to": "c.d"}]), None)
    assert len(made.problems) >= 3


def test_the_same_generation_is_not_planned_again() -> None:
    first = template()
    again = read_template(body(), first)
    assert again is first
    later = body()
    later["metadata"]["generation"] = 4
    assert read_template(later, first) is not first


def test_another_object_of_the_same_name_is_planned_anew() -> None:
    first = template()
    other = body()
    other["metadata"]["uid"] = "uid-other"
    assert read_template(other, first).uid == "uid-other"


def test_a_refused_change_keeps_the_revision_that_runs() -> None:
    first = template()
    worse = body(nodes=[])
    worse["metadata"]["generation"] = 4
    assert read_template(worse, first).revision == first.revision


def test_a_refused_pipeline_has_no_shared_memory_to_show() -> None:
    assert read_template(body(nodes=[]), None).shm == {}
