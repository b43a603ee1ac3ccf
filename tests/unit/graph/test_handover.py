"""What the gateway is told beside the NodeConfig document: both together are the plan again."""

from __future__ import annotations

import json

import pytest

from ringline.errors import SettingsError
from ringline.graph.handover import parameters_digest, session_document, session_plan
from ringline.graph.pipeline import Pipeline
from ringline.graph.plan import SessionPlan
from ringline.settings import RuntimeConfig


def made(**session: object) -> SessionPlan:
    pipeline = (
        Pipeline("calls")
        .add_node("gain", "first")
        .add_node("gain", "second")
        .connect("first", "audio", "second", "audio")
        .input("microphone", to="first.audio")
        .output("speaker", from_="second.audio")
    )
    for name, value in session.items():
        setattr(pipeline.spec.session, name, value)
    return pipeline.plan(RuntimeConfig(max_message_size=1 << 20))


def test_both_documents_together_are_the_plan() -> None:
    plan = made(on_node_crash="RestartNode", max_restarts=7, backoff_seconds=2)
    assert session_plan(plan.node_config(), session_document(plan)) == plan


def test_the_plan_that_comes_back_writes_the_same_bytes_for_its_nodes() -> None:
    plan = made()
    assert session_plan(plan.node_config(), session_document(plan)).node_config() == plan.node_config()


def test_without_a_document_the_ends_are_named_by_their_nodes() -> None:
    plan = session_plan(made().node_config(), "")
    assert plan.inputs == {"first": "input_to_first"}
    assert plan.outputs == {"second": "second_to_output"}
    assert plan.session.on_node_crash == "TerminateSession"
    assert plan.input_channel("first").consumer == "first"


def test_two_inputs_of_one_node_get_their_ports_names() -> None:
    pipeline = Pipeline("mixed").add_node("mix", "mix").input("left", to="mix.a").input("right", to="mix.b")
    plan = pipeline.output("sum", from_="mix.audio").plan(RuntimeConfig(max_message_size=1 << 20))
    assert sorted(session_plan(plan.node_config(), "").inputs) == ["mix", "mix.b"]


@pytest.mark.parametrize("document", ["{", "[]", '"text"', '{"session": {"unknown": 1}}', '{"session": 3}'])
def test_a_damaged_document_is_named(document: str) -> None:
    with pytest.raises(SettingsError, match="session document is damaged"):
        session_plan(made().node_config(), document)


def test_a_document_fits_an_environment_variable() -> None:
    document = session_document(made())
    assert len(document) < 4096
    assert "$(" not in document
    assert json.loads(document)["pipeline"] == "calls"


def test_equal_parameters_have_one_digest_whatever_their_order() -> None:
    assert parameters_digest({"a": 1, "b": [2]}) == parameters_digest({"b": [2], "a": 1})
    assert parameters_digest({}) != parameters_digest({"a": 1})
    assert len(parameters_digest({})) == 16
