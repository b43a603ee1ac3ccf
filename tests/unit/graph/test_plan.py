"""The plan: a pure value with every channel, heap and setting that a launcher needs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline.errors import ManifestError, ResourceLimitError, SessionError, SettingsError
from ringline.graph.layout import ChannelPlan
from ringline.graph.nodeconfig import NodeConfig
from ringline.graph.plan import SessionPlan, plan
from ringline.graph.source import Source
from ringline.names import HOST
from ringline.settings import RuntimeConfig
from tests.unit.graph.graphs import CATALOG, chain, edge, node, read

MIB = 1 << 20


def planned(settings: RuntimeConfig | None = None, **spec: Any) -> SessionPlan:
    return plan(read(**spec), settings or RuntimeConfig(), CATALOG)


def channels_of(settings: RuntimeConfig | None = None, **spec: Any) -> dict[str, ChannelPlan]:
    return {channel.name: channel for channel in planned(settings, **spec).channels}


def test_a_chain_becomes_channels_with_indexes_in_the_order_of_the_manifest() -> None:
    session = planned(**chain("a", "b", "c"))
    assert [(c.index, c.name) for c in session.channels] == [
        (0, "a_to_b"), (1, "b_to_c"), (2, "input_to_a"), (3, "c_to_output"),
    ]  # fmt: skip
    assert session.pipeline == "p"
    first = session.channels[0]
    assert (first.producer, first.producer_port, first.consumer, first.consumer_port) == ("a", "output", "b", "input")


def test_ports_are_named_only_when_two_edges_join_one_pair() -> None:
    joins = [edge("a.left", "b.x"), edge("a.right", "b.y"), edge("b.out", "c.in")]
    names = list(channels_of(nodes=[node("a"), node("b"), node("c")], channels=joins))
    assert names[:3] == ["a.left_to_b.x", "a.right_to_b.y", "b_to_c"]


def test_several_open_ends_of_a_node_are_named_by_their_ports() -> None:
    session = planned(nodes=[node("m", "mix"), node("v", "vad")], channels=[edge("v.speech", "m.a")])
    assert session.inputs == {"v": "input_to_v"}
    assert session.outputs == {"m": "m_to_output", "v": "v_to_output"}
    session = planned(nodes=[node("v", "vad")])
    assert session.outputs == {"v.speech": "v.speech_to_output", "v.events": "v.events_to_output"}


def test_declared_ends_have_their_own_names() -> None:
    ends: dict[str, Any] = {
        "inputs": [{"name": "mic", "to": "v.audio", "capacity": 7}],
        "outputs": [{"name": "ear", "from": "v.speech"}],
    }
    session = planned(nodes=[node("v", "vad")], **ends)
    assert session.inputs == {"mic": "input_to_v"}
    assert session.outputs == {"ear": "v.speech_to_output", "v": "v.events_to_output"}
    assert session.input_channel("mic").capacity == 7
    assert session.input_channel("mic").producer == HOST


def test_a_source_has_no_input_and_a_sink_no_output() -> None:
    session = planned(nodes=[node("t", "tone"), node("s", "sink")], channels=[edge("t.audio", "s.audio")])
    assert (session.inputs, session.outputs) == ({}, {})
    assert [heap.bytes for heap in session.layout.nodes] == [32 * MIB, 0, 0]


def test_a_tapped_output_goes_to_the_next_node_and_to_the_application() -> None:
    session = planned(**chain("a", "b"), outputs=[{"name": "tap", "from": "a.output"}])
    assert session.node("a").outputs == {"output": ("a_to_b", "a_to_output")}
    assert session.node("b").inputs == {"input": "a_to_b"}


def test_kinds_come_from_the_writer_else_from_the_reader() -> None:
    nodes = [node("x"), node("asr", "asr"), node("y")]
    kinds = channels_of(nodes=nodes, channels=[edge("x.a", "asr.audio"), edge("asr.text", "y.b")])
    assert {name: channel.kind for name, channel in kinds.items()} == {
        "x_to_asr": "audio", "asr_to_y": "text", "input_to_x": "any", "y_to_output": "any",
    }  # fmt: skip


def test_overflow_and_capacity_follow_settings_unless_the_channel_says_otherwise() -> None:
    spec = chain("a", "b", "c", "d")
    spec["channels"][1] |= {"capacity": 3, "overflow": "Deadline", "deadlineMilliseconds": 40}
    spec["channels"][2] |= {"overflow": "Latest"}
    found = channels_of(RuntimeConfig(channel_capacity=9), **spec)
    assert [(c.overflow, c.capacity, c.deadline_ms) for c in found.values()] == [
        ("block", 9, 0), ("deadline", 3, 40), ("latest", 1, 0), ("block", 9, 0), ("drop_oldest", 9, 0),
    ]  # fmt: skip


def test_without_back_pressure_the_newest_is_dropped_by_default() -> None:
    spec = chain("a", "b", "c")
    spec["channels"][1] |= {"overflow": "Block", "blockTimeoutMilliseconds": 5}
    found = channels_of(RuntimeConfig(enable_backpressure=False), **spec, outputs=[{"name": "o", "from": "c.output"}])
    assert {name: c.overflow for name, c in found.items()} == {
        "a_to_b": "drop_newest", "b_to_c": "block", "c_to_output": "drop_newest", "input_to_a": "drop_newest",
    }  # fmt: skip
    assert found["b_to_c"].block_timeout_ms == 5


def test_an_output_that_nobody_asked_for_never_stops_the_graph() -> None:
    assert channels_of(**chain("a"))["a_to_output"].overflow == "drop_oldest"
    asked = channels_of(**chain("a"), outputs=[{"name": "o", "from": "a.output"}])
    assert asked["a_to_output"].overflow == "block"


def test_a_heap_holds_two_messages_and_the_host_has_one_if_there_are_inputs() -> None:
    layout = planned(**chain("a", "b")).layout
    assert [(heap.node, heap.bytes) for heap in layout.nodes] == [("a", 32 * MIB), ("b", 32 * MIB), (HOST, 32 * MIB)]
    assert layout.heap_bytes_total == 96 * MIB
    assert layout.max_message_bytes == 16 * MIB


def test_heaps_shrink_alike_but_never_below_one_message() -> None:
    spec = chain(*(f"n{i}" for i in range(10)))
    layout = planned(RuntimeConfig(), **spec).layout
    sizes = {heap.bytes for heap in layout.nodes}
    assert len(sizes) == 1
    assert 16 * MIB <= min(sizes) < 32 * MIB
    assert layout.size_bytes <= 256 * MIB
    with pytest.raises(ResourceLimitError, match="raise shmSize"):
        planned(RuntimeConfig(shm_segment_size=64 * MIB), **spec)


def test_a_node_is_planned_with_everything_its_launcher_needs() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    fields = {"config": {"x": 1}, "env": env, "resources": {"limits": {"memory": "300Mi"}}}
    session = planned(nodes=[node("a", "thing", **fields)])
    planned_node = session.node("a")
    assert (planned_node.type, planned_node.config, planned_node.executor) == ("thing", {"x": 1}, "process")
    assert (planned_node.env, planned_node.secret_env) == ({"A": "1"}, ("K",))
    assert planned_node.memory_limit_bytes == 300 * MIB
    assert (planned_node.inputs, planned_node.outputs) == ({"input": "input_to_a"}, {"output": ("a_to_output",)})


def test_a_nodes_own_interpreter_wins_over_the_settings() -> None:
    settings = RuntimeConfig(python_executable="python3.12", venv_path=Path("/all"), extra_paths=("/common",))
    nodes = [
        node("plain"),
        node("own", python={"executable": "python3.11", "extraPaths": ["/mine"]}),
        node("venv", python={"venvPath": "/v"}),
    ]
    session = planned(settings, nodes=nodes)
    assert [(n.executable, n.venv_path, n.extra_paths) for n in session.nodes] == [
        ("python3.12", "/all", ("/common",)),
        ("python3.11", None, ("/mine", "/common")),
        ("python3.12", "/v", ("/common",)),
    ]


def test_relative_paths_start_at_the_manifests_folder() -> None:
    python = {"venvPath": "env", "extraPaths": ["nodes", "/abs"]}
    tool = {"executable": "bin/python"}
    pipeline = read(nodes=[node("a", python=python), node("b", python=tool)])
    here = plan(pipeline, RuntimeConfig(), CATALOG).nodes
    there = plan(pipeline.with_source(Source(folder=Path("/srv"))), RuntimeConfig(), CATALOG).nodes
    assert (here[0].venv_path, here[0].extra_paths, here[1].executable) == ("env", ("nodes", "/abs"), "bin/python")
    assert (there[0].venv_path, there[0].extra_paths) == ("/srv/env", ("/srv/nodes", "/abs"))
    assert there[1].executable == "/srv/bin/python"


def test_a_declared_cycle_tells_the_node_which_input_closes_it() -> None:
    spec = chain("a", "b")
    spec["channels"].append(edge("b.output", "a.back", feedback=True))
    session = planned(**spec, inputs=[{"name": "i", "to": "a.input"}])
    assert session.node("a").feedback == ("back",)
    assert session.node("b").feedback == ()


def test_the_session_section_becomes_the_policy() -> None:
    policy = planned(nodes=[node("a")], session={"onNodeCrash": "RestartNode", "maxRestarts": 5}).session
    assert (policy.on_node_crash, policy.max_restarts, policy.restart_policy) == ("RestartNode", 5, "OnFailure")


def test_an_unsound_graph_is_not_planned() -> None:
    with pytest.raises(ManifestError) as caught:
        planned(nodes=[node("a")], channels=[edge("a.x", "b.y"), edge("a.x", "c.y")])
    assert [problem.place for problem in caught.value.problems] == ["spec.channels[0].to", "spec.channels[1].to"]


def test_too_many_processes_are_refused_before_anything_starts() -> None:
    with pytest.raises(ResourceLimitError, match=r"3 nodes need 3 processes, .* allows 2"):
        planned(RuntimeConfig(max_processes_per_session=2), **chain("a", "b", "c"))
    unlimited = RuntimeConfig(max_processes_per_session=None, shm_segment_size=1 << 30)
    assert len(planned(unlimited, **chain(*(f"n{i}" for i in range(32)))).nodes) == 32


def test_ends_are_found_by_name_node_or_port_with_either_dash() -> None:
    ends: dict[str, Any] = {"inputs": [{"name": "my-mic", "to": "v_1.audio"}]}
    session = planned(nodes=[node("v_1", "vad")], **ends)
    for name in ("my-mic", "my_mic", "v-1", "v_1", "v_1.audio"):
        assert session.input_channel(name).name == "input_to_v_1"
    assert session.output_channel("v-1.speech").name == "v_1.speech_to_output"
    assert session.channel("input-to-v-1") == session.input_channel("v_1")
    assert session.node("v-1").name == "v_1"


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (lambda s: s.input_channel("w"), r"the session has no input 'w' \(it has: v\)"),
        (lambda s: s.output_channel("v"), "node 'v' has several outputs, name one of: v.speech, v.events"),
        (lambda s: s.channel("a_to_b"), r"there is no channel 'a_to_b' \(there are: input_to_v, "),
        (lambda s: s.node("w"), r"there is no node 'w' \(there are: v\)"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(look: Any, message: str) -> None:
    with pytest.raises(SessionError, match=message):
        look(planned(nodes=[node("v", "vad")]))


def test_the_nodes_document_reads_back_as_the_plan() -> None:
    spec = chain("a", "b")
    spec["nodes"][0] |= {"config": {"ä": [1.5, None]}, "env": [{"name": "A", "value": "1"}]}
    session = planned(RuntimeConfig(venv_path=Path("/v"), extra_paths=("/n",)), **spec)
    document = session.node_config()
    config = NodeConfig.from_bytes(document)
    assert tuple(config.nodes.values()) == session.nodes
    assert tuple(config.channels.values()) == session.channels == config.layout.channels
    assert config.layout == session.layout
    assert RuntimeConfig(**dataclasses.asdict(config.runtime)) == session.runtime
    assert config.to_bytes() == document


def test_the_document_is_canonical_and_holds_nothing_of_one_session() -> None:
    pipeline = read(**chain("a", "b"))
    explicit = RuntimeConfig(channel_capacity=100)
    document = plan(pipeline, RuntimeConfig(), CATALOG).node_config()
    assert document == plan(pipeline, explicit, CATALOG).node_config()
    assert document.isascii()
    assert b" " not in document
    assert json.loads(document)["version"] == 1
    assert set(json.loads(document)) == {"version", "nodes", "channels", "layout", "runtime"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tree: tree | {"version": 2}, "NodeConfig has version 2, this Ringline reads 1"),
        (lambda tree: {"version": 1}, "NodeConfig is damaged .KeyError: 'channels'."),
        (lambda tree: tree | {"nodes": [{"surprise": 1}]}, "NodeConfig is damaged .KeyError"),
        (lambda tree: tree | {"layout": []}, "NodeConfig is damaged .TypeError"),
        (lambda tree: [], "NodeConfig is damaged .TypeError"),
    ],
)
def test_a_damaged_document_is_refused(damage: Any, message: str) -> None:
    tree = json.loads(planned(**chain("a")).node_config())
    with pytest.raises(SettingsError, match=message):
        NodeConfig.from_bytes(json.dumps(damage(tree)).encode())


@given(st.binary(max_size=40))
def test_random_bytes_are_no_document(noise: bytes) -> None:
    with pytest.raises(SettingsError, match="NodeConfig is damaged"):
        NodeConfig.from_bytes(noise)


def test_the_same_input_gives_the_same_plan_and_the_input_is_left_alone() -> None:
    pipeline = read(**chain("a", "b", "c"))
    before = pipeline.to_manifest()
    assert plan(pipeline, RuntimeConfig(), CATALOG) == plan(pipeline, RuntimeConfig(), CATALOG)
    assert pipeline.to_manifest() == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        planned(**chain("a")).pipeline = "other"  # type: ignore[misc]


@given(
    count=st.integers(1, 12),
    extra=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=12),
    capacity=st.integers(1, 200),
)
def test_any_acyclic_graph_gives_a_consistent_plan(count: int, extra: list[tuple[int, int]], capacity: int) -> None:
    pairs = {(a, b) for a, b in extra if a < b < count} | {(i, i + 1) for i in range(count - 1)}
    joins = [edge(f"n{a}.o{b}", f"n{b}.i{a}") for a, b in sorted(pairs)]
    settings = RuntimeConfig(
        channel_capacity=capacity, max_message_size=65536, max_processes_per_session=None, shm_segment_size=1 << 30
    )
    session = planned(settings, nodes=[node(f"n{i}") for i in range(count)], channels=joins)
    assert [channel.index for channel in session.channels] == list(range(len(session.channels)))
    assert len({channel.name for channel in session.channels}) == len(session.channels)
    written = {name for planned_node in session.nodes for names in planned_node.outputs.values() for name in names}
    readers = {name for planned_node in session.nodes for name in planned_node.inputs.values()}
    assert written | set(session.inputs.values()) == {channel.name for channel in session.channels}
    assert readers | set(session.outputs.values()) == {channel.name for channel in session.channels}
    assert NodeConfig.from_bytes(session.node_config()).to_bytes() == session.node_config()
