"""The builder: the guide's calls, the same model as a manifest's, refusals where they happen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import ringline
from ringline.errors import ManifestError
from ringline.graph.manifest import read_manifest
from ringline.graph.pipeline import Pipeline
from ringline.settings import RuntimeConfig


def guide() -> Pipeline:
    return (
        Pipeline()
        .add_node("whisper", "asr", {"model": "base"})
        .add_node("lfm2_audio", "s2s", {"model": "large"})
        .add_node("vibe_voice", "tts", {"voice": "sarah"})
        .connect("asr", "text", "s2s", "input")
        .connect("s2s", "output", "tts", "input")
    )


def test_the_guides_pipeline_is_sound_and_its_ends_are_named_by_their_nodes() -> None:
    plan = guide().build().plan(RuntimeConfig())
    assert plan.inputs == {"asr": "input_to_asr"}
    assert plan.outputs == {"tts": "tts_to_output"}
    assert [channel.name for channel in plan.channels[:2]] == ["asr_to_s2s", "s2s_to_tts"]


def test_the_rust_form_gives_the_same_pipeline() -> None:
    built = (
        ringline.Pipeline.builder()
        .add_node("whisper", "asr", {"model": "base"})
        .with_executor("python")
        .add_node("lfm2_audio", "s2s", {"model": "large"})
        .with_executor("python")
        .add_node("vibe_voice", "tts", {"voice": "sarah"})
        .with_executor("python")
        .connect("asr", "text", "s2s", "input")
        .connect("s2s", "output", "tts", "input")
        .build()
    )
    assert built == guide()


def test_a_manifest_says_the_same() -> None:
    text = """
        apiVersion: ringline.dev/v1alpha1
        kind: MediaPipeline
        metadata: {name: pipeline}
        spec:
          nodes:
          - {name: asr, type: whisper, config: {model: base}}
          - {name: s2s, type: lfm2_audio, config: {model: large}}
          - {name: tts, type: vibe_voice, config: {voice: sarah}}
          channels:
          - {from: asr.text, to: s2s.input}
          - {from: s2s.output, to: tts.input}
    """
    [resource] = read_manifest(text)
    assert Pipeline.of(resource) == guide()
    assert resource == guide().resource


def test_every_argument_has_its_field_in_the_manifest() -> None:
    built = (
        Pipeline("all")
        .add_node(
            "thing",
            "a",
            {"x": (1, 2)},
            executor="process",
            memory_limit_mb=300,
            resources={"limits": {"cpu": "500m"}},
            python={"executable": "python3", "venv_path": Path("env"), "extra_paths": ["nodes"]},
            env={"A": "1"},
            image="x/y:1",
        )
        .add_node("thing", "b", env=[{"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}])
        .connect("a", "x", "b", "y", capacity=4, overflow="drop_oldest")
        .connect("b", "x", "a", "y", feedback=True)
        .input("mic", to="a.in", deadline_ms=50)
        .output("ear", from_="b.out", block_timeout_ms=20)
        .runtime(max_processes_per_session=None, shm_segment_size="64Mi", extra_paths=["n"], venv_path=Path("v"))
    )
    assert built.to_manifest() == {
        "apiVersion": "ringline.dev/v1alpha1",
        "kind": "MediaPipeline",
        "metadata": {"name": "all"},
        "spec": {
            "runtime": {
                "maxProcessesPerSession": 0,
                "shmSize": "64Mi",
                "python": {"extraPaths": ["n"], "venvPath": "v"},
            },
            "nodes": [
                {
                    "name": "a",
                    "type": "thing",
                    "config": {"x": [1, 2]},
                    "executor": "Process",
                    "resources": {"limits": {"cpu": "500m", "memory": "300Mi"}},
                    "python": {"executable": "python3", "venvPath": "env", "extraPaths": ["nodes"]},
                    "env": [{"name": "A", "value": "1"}],
                    "image": "x/y:1",
                },
                {
                    "name": "b",
                    "type": "thing",
                    "env": [{"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                },
            ],
            "channels": [
                {"from": "a.x", "to": "b.y", "capacity": 4, "overflow": "DropOldest"},
                {"from": "b.x", "to": "a.y", "feedback": True},
            ],
            "inputs": [{"name": "mic", "to": "a.in", "overflow": "Deadline", "deadlineMilliseconds": 50}],
            "outputs": [{"name": "ear", "from": "b.out", "overflow": "Block", "blockTimeoutMilliseconds": 20}],
        },
    }
    assert built.validate() == []


@pytest.mark.parametrize(
    ("overflow", "written"),
    [
        ("block", "Block"),
        ("drop_oldest", "DropOldest"),
        ("DropNewest", "DropNewest"),
        ("latest", "Latest"),
        ("Block", "Block"),
    ],
)
def test_policies_are_taken_in_either_spelling(overflow: str, written: str) -> None:
    built = Pipeline().connect("a", "x", "b", "y", overflow=overflow)
    assert built.spec.channels[0].overflow == written


@pytest.mark.parametrize("name", ["python", "process", "Process"])
def test_python_is_the_process_executor(name: str) -> None:
    assert Pipeline().add_node("t", "a").with_executor(name).spec.nodes[0].executor == "Process"
    for built in (
        Pipeline().add_node("t", "a", executor="inline"),
        Pipeline().add_node("t", "a").with_executor("Inline"),
    ):
        assert built.spec.nodes[0].executor == "Inline"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            lambda p: p.add_node("t", "asr"),
            "spec.nodes[3].name: node 'asr' exists already (spec.nodes[0]); choose another id",
        ),
        (lambda p: p.add_node("t", "S2S"), "spec.nodes[3].name: 'S2S' is not allowed; use lower-case"),
        (lambda p: p.add_node("t", "a", config=3), "spec.nodes[3].config: must be a mapping of fields, not 3"),
        (
            lambda p: p.add_node("t", "a", {"x": object()}),
            "spec.nodes[3].config: can't be written as JSON: Object of type object",
        ),
        (
            lambda p: p.add_node("t", "a", {"x": float("nan")}),
            "spec.nodes[3].config: can't be written as JSON: Out of range",
        ),
        (
            lambda p: p.add_node("t", "a", executor="thread"),
            "spec.nodes[3].executor: 'thread' is no executor; known: inline, process, python",
        ),
        (lambda p: p.with_executor("pyton"), "spec.nodes[2].executor: 'pyton' is no executor; did you mean 'python'?"),
        (
            lambda p: p.add_node("t", "a", python={"venv": "x"}),
            "spec.nodes[3].python.venv: unknown field; did you mean 'venvPath'?",
        ),
        (
            lambda p: p.connect("asr", "x", "s2s", "y", capacity=0),
            "spec.channels[2].capacity: must be at least 1, not 0",
        ),
        (
            lambda p: p.connect("asr", "x", "s2s", "y", overflow="oldest"),
            "spec.channels[2].overflow: 'Oldest' is not allowed; write 'Block', 'DropOldest'",
        ),
        (lambda p: p.input("mic", to="asr"), "spec.inputs[0].to: 'asr' names no port; write node.port"),
        (lambda p: p.output("", from_="asr.x"), "spec.outputs[0].name: is empty; use lower-case"),
        (
            lambda p: p.runtime(chanel_capacity=1),
            "spec.runtime.chanel_capacity: unknown setting; did you mean 'channel_capacity'?",
        ),
        (
            lambda p: p.runtime(init_timeout_secs=0.5),
            "spec.runtime.initTimeoutSeconds: must be a whole number, not 0.5",
        ),
        (lambda p: Pipeline("Voice"), "metadata.name: 'Voice' is not allowed; use lower-case"),
        (
            lambda p: Pipeline().with_executor("python"),
            "spec.nodes: with_executor comes after add_node; add a node first",
        ),
    ],
)
def test_a_bad_step_is_refused_at_once_with_its_place(step: Callable[[Pipeline], Any], message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        step(guide())
    assert str(caught.value).startswith(message)


def test_a_config_that_contains_itself_is_refused() -> None:
    config: dict[str, Any] = {}
    config["self"] = config
    with pytest.raises(ManifestError, match="Circular reference"):
        Pipeline().add_node("t", "a", config)


def test_the_configs_of_a_pipeline_are_its_own() -> None:
    config = {"words": ["on"]}
    built = Pipeline().add_node("t", "a", config)
    config["words"].append("off")
    assert built.spec.nodes[0].config == {"words": ["on"]}


def test_build_raises_everything_that_is_wrong_with_the_graph() -> None:
    built = guide().connect("asr", "text", "tts", "input").connect("tts", "x", "nobody", "y")
    with pytest.raises(ManifestError) as caught:
        built.build()
    assert [problem.place for problem in caught.value.problems] == ["spec.channels[3].to", "spec.channels[2].to"]
    assert built.validate() == list(caught.value.problems)


def test_an_empty_pipeline_can_not_be_built() -> None:
    with pytest.raises(ManifestError, match="at least one node"):
        Pipeline().build()


def test_a_loaded_pipeline_that_is_extended_leaves_the_original_alone() -> None:
    resource = guide().resource
    Pipeline.of(resource).add_node("t", "more").connect("tts", "output", "more", "input")
    assert len(resource.spec.nodes) == 3
    assert len(resource.spec.channels) == 2


def test_a_file_is_loaded_by_name(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    documents = [guide().to_manifest(), Pipeline("other").add_node("t", "a").to_manifest()]
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    assert Pipeline.load(path, "other").name == "other"
    assert Pipeline.load(str(path), "pipeline") == guide()
    for name in (None, "absent"):
        with pytest.raises(ManifestError, match="holds the pipelines pipeline, other; choose one of them by name"):
            Pipeline.load(path, name)
    path.write_text(yaml.safe_dump(documents[1]), encoding="utf-8")
    assert repr(Pipeline.load(path)) == "<Pipeline other: 1 nodes, 0 channels>"


_NAMES = st.from_regex(r"[a-z]([-_a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
_FLOWS = st.fixed_dictionaries(
    {},
    optional={
        "capacity": st.integers(1, 4096),
        "overflow": st.sampled_from(["block", "drop_oldest", "drop_newest", "latest", "deadline"]),
        "deadline_ms": st.integers(1, 1000),
        "block_timeout_ms": st.integers(0, 1000),
    },
)


@given(
    name=st.from_regex(r"[a-z][-a-z0-9]{0,10}[a-z0-9]", fullmatch=True),
    nodes=st.dictionaries(_NAMES, st.dictionaries(st.text(max_size=6), _JSON, max_size=3), max_size=6),
    edges=st.lists(st.tuples(_NAMES, _NAMES, _NAMES, _NAMES, _FLOWS, st.booleans()), max_size=6),
    settings=st.fixed_dictionaries(
        {}, optional={"channel_capacity": st.integers(1, 4096), "max_message_size": st.integers(4096, 64 << 20)}
    ),
)
def test_builder_manifest_and_yaml_give_the_same_model(
    name: str,
    nodes: dict[str, dict[str, Any]],
    edges: list[tuple[str, str, str, str, dict[str, Any], bool]],
    settings: dict[str, int],
) -> None:
    built = Pipeline(name).runtime(**settings)
    seen: set[str] = set()
    for identity, config in nodes.items():
        if identity.replace("_", "-") not in seen:
            built.add_node("thing", identity, config)
        seen.add(identity.replace("_", "-"))
    for a, b, c, d, flow, feedback in edges:
        built.connect(a, b, c, d, **flow, feedback=feedback).input(a, to=f"{c}.{d}", **flow).output(b, from_=f"{a}.{d}")
    manifest = built.to_manifest()
    again = Pipeline.from_manifest(manifest)
    [read] = read_manifest(yaml.safe_dump(manifest) + "\n")
    assert again.resource == built.resource == read
    assert again.to_manifest() == manifest == read.to_manifest()
    assert again.validate() == built.validate()
