"""Every way in which a graph can be wrong, each with its place and its way out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline.errors import ManifestError, Problem
from ringline.graph.draft import draft_of
from ringline.graph.manifest import pipeline_from
from ringline.graph.validate import draft_problems, validate
from ringline.settings import RuntimeConfig
from tests.unit.graph.graphs import CATALOG, chain, edge, node, problems_of, read, resource, texts_of

VOICE = [node("vad", "vad"), node("asr", "asr"), node("tts", "tts")]


def test_a_sound_graph_has_no_problems() -> None:
    joins = [edge("vad.speech", "asr.audio"), edge("asr.text", "tts.text")]
    ends: dict[str, Any] = {
        "inputs": [{"name": "mic", "to": "vad.audio"}],
        "outputs": [{"name": "ear", "from": "tts.audio"}],
    }
    assert problems_of(nodes=VOICE, channels=joins, **ends) == []


def test_a_single_node_is_a_graph() -> None:
    assert problems_of(nodes=[node("only")]) == []


def test_nodes_without_any_channel_may_stand_side_by_side() -> None:
    assert problems_of(nodes=[node("a"), node("b")]) == []


@pytest.mark.parametrize("spec", [{}, {"nodes": []}])
def test_an_empty_graph_is_refused(spec: dict[str, Any]) -> None:
    assert texts_of(**spec) == ["spec.nodes: is empty; a pipeline needs at least one node"]


def test_an_unknown_port_is_refused_with_those_that_exist() -> None:
    joins = [edge("vad.speech", "asr.audo"), edge("asr.txt", "tts.text")]
    assert texts_of(nodes=VOICE, channels=joins) == [
        "spec.channels[0].to: node 'asr' has no input port 'audo' (it has: audio)",
        "spec.channels[1].from: node 'asr' has no output port 'txt' (it has: text)",
    ]


def test_a_port_of_the_wrong_side_or_spelling_is_refused() -> None:
    nodes = [node("a", "two"), node("b", "two"), node("t", "tone")]
    catalog = {"two": {"inputs": {"text_in": "text"}, "outputs": {"text_out": "text"}}, "tone": CATALOG["tone"]}
    joins = [edge("a.text-out", "b.text_in"), edge("b.text_out", "t.audio")]
    found = validate(read(nodes=nodes, channels=joins), catalog)
    assert [str(problem) for problem in found] == [
        "spec.channels[0].from: node 'a' has no output port 'text-out' (did you mean 'text_out'?)",
        "spec.channels[1].to: node 't' has no input port 'audio' (it has: nothing)",
    ]


def test_ports_of_an_unknown_type_are_those_that_connections_name() -> None:
    joins = [edge("a.this", "b.that"), edge("a.other", "b.more")]
    assert problems_of(nodes=[node("a"), node("b")], channels=joins) == []


def test_a_dangling_node_is_refused_with_the_nearest_or_all_names() -> None:
    ends: dict[str, Any] = {
        "inputs": [{"name": "mic", "to": "vat.audio"}],
        "outputs": [{"name": "ear", "from": "zebra.x"}],
    }
    joins = [edge("vad.speech", "asr.audio"), edge("asr.text", "tts.text")]
    assert texts_of(nodes=VOICE, channels=joins, **ends) == [
        "spec.inputs[0].to: there is no node 'vat' (did you mean 'vad'?)",
        "spec.outputs[0].from: there is no node 'zebra' (there are: asr, tts, vad)",
    ]


def test_two_writers_on_a_port_are_refused() -> None:
    joins = [edge("a.x", "asr.audio"), edge("b.x", "asr.audio")]
    found = texts_of(nodes=[node("a"), node("b"), node("asr", "asr")], channels=joins)
    assert found == [
        (
            "spec.channels[1].to: input port 'asr.audio' has a writer already (spec.channels[0]); "
            "give it one writer, a node of type join or mix merges several"
        )
    ]


def test_an_input_counts_as_a_writer() -> None:
    spec: dict[str, Any] = {"inputs": [{"name": "mic", "to": "b.input"}]}
    assert "has a writer already (spec.channels[0])" in texts_of(**chain("a", "b"), **spec)[0]


def test_a_writer_may_have_many_readers() -> None:
    nodes = [node("a", "tone"), *(node(f"s{i}", "sink") for i in range(4))]
    assert problems_of(nodes=nodes, channels=[edge("a.audio", f"s{i}.audio") for i in range(4)]) == []


def test_a_type_mismatch_names_both_types() -> None:
    found = texts_of(nodes=[node("asr", "asr"), node("sink", "sink")], channels=[edge("asr.text", "sink.audio")])
    assert found == [
        (
            "spec.channels[0].to: 'asr.text' gives text, 'sink.audio' takes audio; "
            "put a node between them that converts, or choose other ports"
        )
    ]


@pytest.mark.parametrize(("from_", "to"), [("e.data", "tts.text"), ("tone.audio", "e.data"), ("any.x", "tts.text")])
def test_ports_for_several_types_fit_each_of_them(from_: str, to: str) -> None:
    nodes = [node("e", "either"), node("tts", "tts"), node("tone", "tone"), node("any")]
    mentioned = [
        {"name": name, "from": f"{name}.{port}"} for name, port in (("e", "data"), ("any", "x"), ("tts", "audio"))
    ]
    assert [
        p for p in problems_of(nodes=nodes, channels=[edge(from_, to)], outputs=mentioned) if "gives" in p.message
    ] == []


def test_a_wildcard_port_takes_any_name_but_only_its_type() -> None:
    nodes = [node("tone", "tone"), node("asr", "asr"), node("mix", "mix")]
    joins = [edge("tone.audio", "mix.left"), edge("asr.text", "mix.right")]
    assert [problem.place for problem in problems_of(nodes=nodes, channels=joins)] == ["spec.channels[1].to"]


def test_an_undeclared_cycle_is_refused_once_and_drawn() -> None:
    spec = chain("a", "b", "c")
    spec["channels"].append(edge("c.output", "a.back"))
    assert texts_of(**spec) == [
        "spec.channels[2]: closes the cycle c → a → b → c; mark it `feedback: true` if that is meant, or remove it",
        *(f"spec.nodes[{i}]: node '{n}' is unreachable: all its inputs come from its own cycle; connect an input to it"
          for i, n in enumerate("abc")),
    ]  # fmt: skip


def test_a_declared_cycle_with_an_entry_is_sound() -> None:
    spec = chain("a", "b")
    spec["channels"].append(edge("b.output", "a.back", feedback=True))
    assert problems_of(**spec, inputs=[{"name": "in", "to": "a.input"}]) == []


def test_a_cycle_that_nothing_enters_is_unreachable() -> None:
    joins = [edge("a.x", "b.y"), edge("b.x", "a.y", feedback=True)]
    found = texts_of(nodes=[node("a"), node("b")], channels=joins)
    assert [line.split(";")[0] for line in found] == [
        f"spec.nodes[{i}]: node '{n}' is unreachable: all its inputs come from its own cycle"
        for i, n in enumerate("ab")
    ]


def test_feedback_that_closes_no_cycle_is_refused() -> None:
    spec = chain("a", "b")
    spec["channels"][0]["feedback"] = True
    assert texts_of(**spec) == ["spec.channels[0].feedback: closes no cycle; remove it"]


@pytest.mark.parametrize("feedback", [True, False])
def test_a_self_edge_is_refused_even_as_feedback(feedback: bool) -> None:
    joins = [edge("a.x", "a.y", feedback=feedback)]
    found = texts_of(nodes=[node("a")], channels=joins, inputs=[{"name": "i", "to": "a.z"}])
    assert found == ["spec.channels[0]: joins node 'a' to itself; keep its state inside the node"]


def test_a_node_that_nothing_mentions_is_unreachable() -> None:
    spec = chain("a", "b")
    spec["nodes"].append(node("c"))
    assert texts_of(**spec) == [
        "spec.nodes[2]: node 'c' is unreachable: no channel, input or output names it; connect it or remove it"
    ]


def test_a_source_is_reachable_by_itself() -> None:
    spec = chain("a", "b")
    spec["nodes"].append(node("t", "tone"))
    assert problems_of(**spec) == []


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("vad", "vad", "node 'vad' exists already (spec.nodes[0].name); choose another name"),
        ("a-b", "a_b", "nodes 'a-b' (spec.nodes[0].name) and 'a_b' are the same name to Kubernetes"),
    ],
)
def test_a_duplicate_id_is_refused(first: str, second: str, message: str) -> None:
    assert Problem("spec.nodes[1].name", message) in problems_of(nodes=[node(first), node(second)])


def test_names_of_inputs_and_outputs_are_unique_implied_ones_included() -> None:
    ends = [{"name": "b", "to": "a.input"}, {"name": "b", "to": "a.more"}]
    found = texts_of(nodes=[node("a"), node("b")], inputs=ends, outputs=[{"name": "o", "from": "b.output"}])
    assert found == [
        "spec.inputs[0].name: input 'b' exists already (spec.nodes[1].name); choose another name",
        "spec.inputs[1].name: input 'b' exists already (spec.nodes[1].name); choose another name",
    ]


def test_one_port_is_one_output() -> None:
    ends = [{"name": "x", "from": "a.output"}, {"name": "y", "from": "a.output"}]
    assert texts_of(nodes=[node("a")], outputs=ends) == [
        "spec.outputs[1].from: 'a.output' is output 'x' already; read it there"
    ]


def test_channel_names_that_collide_are_refused() -> None:
    nodes = [node("a"), node("b_to_c"), node("a_to_b"), node("c")]
    joins = [edge("a.output", "b_to_c.input"), edge("a_to_b.output", "c.input")]
    assert texts_of(nodes=nodes, channels=joins) == [
        "spec.channels[1]: its channel is named 'a_to_b_to_c' like that of spec.channels[0] (a → b_to_c); rename a node"
    ]


def test_a_node_named_input_collides_with_the_sessions_own_channel() -> None:
    joins = [edge("input.x", "a.y")]
    ends = [{"name": "i", "to": "a.z"}]
    found = texts_of(nodes=[node("input"), node("a")], channels=joins, inputs=ends)
    assert found == [
        "spec.inputs[0]: its channel is named 'input_to_a' like that of spec.channels[0] (input → a); rename a node"
    ]


def test_33_nodes_are_refused_and_10000_as_quickly() -> None:
    for count in (33, 10_000):
        found = texts_of(nodes=[node(f"n{i}") for i in range(count)])
        assert found == [f"spec.nodes: has {count} entries, at most 32 are allowed"]
    assert problems_of(nodes=[node(f"n{i}", "sink") for i in range(32)], runtime={"maxProcessesPerSession": 0}) == []


def test_implied_ends_count_as_channels() -> None:
    nodes = [node(f"n{i}") for i in range(20)]
    joins = [edge(f"n{i}.o{k}", f"n{i + 1}.i{k}") for i in range(19) for k in range(3)]
    spec: dict[str, Any] = {
        "nodes": nodes,
        "channels": joins,
        "runtime": {"maxProcessesPerSession": 0, "shmSize": "1Gi"},
    }
    assert problems_of(**spec) == []
    more = joins + [edge(f"n{i}.o3", f"n{i + 1}.i3") for i in range(6)]
    assert texts_of(**(spec | {"channels": more})) == [
        (
            "spec.channels: the session has 65 channels (2 of them for unconnected ports), at most 64 are allowed, "
            "inputs and outputs counted"
        )
    ]


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (
            {"overflow": "Latest", "capacity": 2},
            ".capacity: overflow Latest holds 1 message, not 2; leave capacity out",
        ),
        ({"overflow": "Deadline"}, ".overflow: Deadline needs deadlineMilliseconds; add it"),
        (
            {"deadlineMilliseconds": 5},
            ".deadlineMilliseconds: has a meaning only with `overflow: Deadline`; add that or remove it",
        ),
        (
            {"overflow": "Latest", "blockTimeoutMilliseconds": 5},
            ".blockTimeoutMilliseconds: has no meaning with `overflow: Latest`; use Block or remove it",
        ),
    ],
)
def test_times_and_capacities_fit_their_policy(flow: dict[str, Any], message: str) -> None:
    spec = chain("a", "b")
    spec["channels"][0] |= flow
    assert texts_of(**spec) == [f"spec.channels[0]{message}"]
    assert texts_of(nodes=[node("a")], inputs=[{"name": "i", "to": "a.input"} | flow]) == [f"spec.inputs[0]{message}"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, ": 'gain' is a required property; add it"),
        ({"gain": "loud"}, ".gain: must be number, not 'loud'"),
        ({"gain": True}, ".gain: must be number, not True"),
        ({"gain": 11}, ".gain: must be at most 10, not 11"),
        ({"gain": -1}, ".gain: must be at least 0, not -1"),
        ({"gain": 1, "mode": "dB"}, ".mode: must be one of linear, db, not 'dB'"),
        ({"gain": 1, "steps": [1, 0]}, ".steps[1]: must be more than 0, not 0"),
        ({"gain": 1, "label": "A1"}, ".label: 'A1' does not have the form ^[a-z]+$"),
        ({"gain": 1, "label": "abcdefghi"}, ".label: must have at most 8 characters, not 'abcdefghi'"),
        ({"gain": 1, "modes": "db"}, ".modes: unknown field of type gain; did you mean 'mode'?"),
        ({"gain": float("nan")}, ".gain: nan is no JSON number; write a finite one, or leave it out"),
        ({"gain": 1, "steps": [float("inf")]}, ".steps[0]: inf is no JSON number; write a finite one, or leave it out"),
        (
            {"gain": 1, "steps": {1, 2}},
            ".steps: {1, 2} can't be written as JSON; use texts, numbers, lists and mappings",
        ),
    ],
)
def test_a_config_is_checked_against_the_types_schema(config: dict[str, Any], message: str) -> None:
    assert texts_of(nodes=[node("g", "gain", config=config)]) == [f"spec.nodes[0].config{message}"]


def test_a_config_of_an_unknown_type_is_the_nodes_own_business() -> None:
    assert problems_of(nodes=[node("g", config={"anything": [1, {"x": None}]})]) == []


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PYTHONPATH", "RINGLINE_TOKEN", "LD_LIBRARY_PATH", "PYTHONSTARTUP"])
def test_reserved_environment_is_refused(name: str) -> None:
    found = texts_of(nodes=[node("a", env=[{"name": name, "value": "x"}])])
    assert found == [f"spec.nodes[0].env[0].name: {name} is reserved for Ringline; choose another name"]


def test_a_variable_is_written_once() -> None:
    found = texts_of(nodes=[node("a", env=[{"name": "A", "value": "x"}, {"name": "A", "value": "y"}])])
    assert found == ["spec.nodes[0].env[1].name: variable A exists already in this node; write it once"]


def test_a_mount_needs_its_volume_and_a_volume_its_name() -> None:
    volumes = [{"name": "models", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "models", "emptyDir": {}}]
    mounts = [{"name": "models", "mountPath": "/models"}, {"name": "model", "mountPath": "/m"}]
    assert texts_of(nodes=[node("a", volumeMounts=mounts)], pod={"volumes": volumes}) == [
        "spec.nodes[0].volumeMounts[1].name: there is no volume 'model' in spec.pod.volumes (there are: models)",
        "spec.pod.volumes[1].name: volume 'models' exists already; choose another name",
    ]


def test_inline_is_for_a_whole_session() -> None:
    spec = chain("a", "b")
    spec["nodes"][1]["executor"] = "Inline"
    assert "spec.nodes[1].executor: Inline is for a whole session" in texts_of(**spec)[0]
    spec["nodes"][0]["executor"] = "Inline"
    assert problems_of(**spec) == []


def test_an_open_ingress_needs_a_token() -> None:
    found = texts_of(nodes=[node("a")], ingress={"enabled": True})
    assert found == ["spec.ingress.tokenSecretRef: is missing; an open ingress needs a Secret with its bearer token"]


def test_heaps_over_the_shm_size_are_refused_naming_it() -> None:
    found = texts_of(**chain("a", "b"), runtime={"shmSize": "32Mi"})
    assert len(found) == 1
    assert found[0].startswith("spec.runtime.shmSize: shmSize 33554432 is too small: 3 heaps of one maxMessageSize")


def test_more_processes_than_allowed_are_refused() -> None:
    spec = chain(*(f"n{i}" for i in range(11)))
    assert texts_of(**spec) == [
        (
            "spec.nodes: 11 nodes need 11 processes, maxProcessesPerSession (max_processes_per_session) allows 10; "
            "raise it (0 = no limit) or use fewer nodes"
        )
    ]
    assert problems_of(**spec, runtime={"maxProcessesPerSession": 0}) == []


def test_the_budget_can_be_checked_against_other_settings() -> None:
    pipeline = read(**chain("a", "b", "c"))
    assert validate(pipeline, CATALOG) == []
    assert len(validate(pipeline, CATALOG, RuntimeConfig(max_processes_per_session=2))) == 1


def test_an_arena_over_the_pods_memory_is_refused() -> None:
    nodes = [node("a", resources={"limits": {"memory": "200Mi"}})]
    pod = {"resources": {"limits": {"memory": "256Mi"}}}
    found = texts_of(nodes=nodes, pod=pod)
    assert found == [
        (
            "spec.pod.resources.limits.memory: 256Mi is less than the session needs: arena 65Mi and node limits 200Mi; "
            "raise it to 265Mi or lower shmSize"
        )
    ]


def test_a_document_over_200_kib_is_refused() -> None:
    found = texts_of(nodes=[node("a", config={"text": "x" * (200 << 10)})])
    assert len(found) == 1
    assert "at most 204800 are allowed; move large values out of `config` into files" in found[0]


def test_all_problems_are_reported_at_once() -> None:
    nodes = [node("vad", "vad", exectuor="Process"), node("asr", "asr"), node("Bad"), node("tts", "tts")]
    joins = [edge("vad.speech", "asr.audo"), edge("Bad.x", "tts.text", capacity=0), edge("asr.text", "nowhere.x")]
    assert texts_of(nodes=nodes, channels=joins, replicas=-1, suspended=True) == [
        "spec.replicas: must be at least 0, not -1",
        "spec.nodes[0].exectuor: unknown field; did you mean 'executor'?",
        (
            "spec.nodes[2].name: 'Bad' is not allowed; use lower-case letters, digits, '-' or '_', "
            "beginning and ending with a letter or digit"
        ),
        "spec.channels[1].capacity: must be at least 1, not 0",
        (
            "spec.channels[1].from: the node's name 'Bad' is not allowed; use lower-case letters, digits, '-' or '_', "
            "beginning and ending with a letter or digit"
        ),
        "spec.suspended: unknown field; did you mean 'suspend'?",
        "spec.channels[0].to: node 'asr' has no input port 'audo' (it has: audio)",
        "spec.channels[2].to: there is no node 'nowhere' (there are: asr, tts, vad)",
    ]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_NAMES = st.sampled_from(["a", "b", "c", "a-b", "a_b", "input", "A"])
_REFS = st.tuples(_NAMES, st.sampled_from(["x", "y", "audio", ""])).map(".".join)
_NODES = st.fixed_dictionaries(
    {"name": _NAMES, "type": st.sampled_from([*CATALOG, "thing"])},
    optional={"config": _JSON, "env": _JSON, "python": _JSON},
)
_CHANNELS = st.fixed_dictionaries(
    {"from": _REFS, "to": _REFS},
    optional={
        "capacity": _JSON,
        "overflow": st.sampled_from(["Block", "Latest", "Deadline", 3]),
        "feedback": st.booleans(),
    },
)
_SPECS = st.fixed_dictionaries(
    {"nodes": st.lists(_NODES | _JSON, max_size=5), "channels": st.lists(_CHANNELS | _JSON, max_size=6)},
    optional={"runtime": _JSON, "inputs": st.lists(_JSON, max_size=2), "outputs": _JSON, "nonsense": _JSON},
)


@given(_SPECS)
def test_no_graph_makes_the_checks_fail_and_every_refusal_is_one_line(spec: dict[str, Any]) -> None:
    draft, problems = draft_of(resource(**spec))
    found = [*problems, *(draft_problems(draft, CATALOG) if draft else ())]
    assert all(problem.place and problem.message and "\n" not in str(problem) for problem in found)
    assert all(str(problem).isprintable() for problem in found)


@given(_JSON)
def test_no_mapping_makes_the_reader_fail(value: Any) -> None:
    with pytest.raises(ManifestError) as caught:
        pipeline_from({"spec": value, "metadata": value})
    assert caught.value.problems
