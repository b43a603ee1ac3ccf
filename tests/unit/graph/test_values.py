"""Every way in which a single value of a manifest can be wrong."""

from __future__ import annotations

from typing import Any

import pytest

from ringline.errors import Problem
from ringline.graph.pod import CONFINED
from tests.unit.graph.graphs import edge, node, problems_of, read, resource, texts_of

BIDI, ZERO_WIDTH = "a\u202eb", "a\u200bb"
RULE = "use lower-case letters, digits, '-' or '_', beginning and ending with a letter or digit"


def only(spec: dict[str, Any]) -> Problem:
    found = problems_of(**spec)
    assert len(found) == 1, [str(problem) for problem in found]
    return found[0]


def with_node(**fields: Any) -> dict[str, Any]:
    return {"nodes": [node("a") | fields]}


def with_pod(**fields: Any) -> dict[str, Any]:
    return {"nodes": [node("a")], "pod": fields}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x" * 64, "has 64 characters, at most 40 are allowed"),
        ("", f"is empty; {RULE}"),
        ("Vad", f"'Vad' is not allowed; {RULE}"),
        (BIDI, f"'a\\u202eb' has the character RIGHT-TO-LEFT OVERRIDE; {RULE}"),
        (ZERO_WIDTH, f"'a\\u200bb' has the character ZERO WIDTH SPACE; {RULE}"),
        ("../etc", f"'../etc' has the character SOLIDUS; {RULE}"),
        ("a\nb", f"'a\\nb' has the character U+000A; {RULE}"),
        ("a;b", f"'a;b' has the character SEMICOLON; {RULE}"),
        ("a.b", f"'a.b' is not allowed; {RULE}"),
        ("-a", f"'-a' is not allowed; {RULE}"),
        ("ä", f"'\\xe4' has the character LATIN SMALL LETTER A WITH DIAERESIS; {RULE}"),
        (3, "must be a text (quote it), not 3"),
        (True, "must be a text (quote it), not True"),
    ],
)
def test_a_bad_name_is_refused_wherever_it_stands(name: Any, message: str) -> None:
    assert only(with_node(name=name)) == Problem("spec.nodes[0].name", message)
    ends = [{"name": name, "to": "a.input"}]
    assert only({"nodes": [node("a")], "inputs": ends}) == Problem("spec.inputs[0].name", message)


@pytest.mark.parametrize("name", ["x" * 41, "a_b", "Voice", "", BIDI, "a.b", "../x"])
def test_a_pipelines_name_is_a_dns_label_of_40_characters(name: str) -> None:
    manifest = resource(nodes=[node("a")]) | {"metadata": {"name": name}}
    from ringline.errors import ManifestError
    from ringline.graph.manifest import pipeline_from

    with pytest.raises(ManifestError) as caught:
        pipeline_from(manifest)
    assert [problem.place for problem in caught.value.problems] == ["metadata.name"]


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("asr", "'asr' names no port; write node.port"),
        ("asr.", f"the port's name is empty; {RULE}"),
        (".audio", f"the node's name is empty; {RULE}"),
        ("asr.audio.left", f"the port's name 'audio.left' is not allowed; {RULE}"),
        ("asr.au dio", f"the port's name 'au dio' has the character SPACE; {RULE}"),
        (7, "must be a text (quote it), not 7"),
    ],
)
def test_an_end_of_a_channel_is_written_node_dot_port(ref: Any, message: str) -> None:
    found = only({"nodes": [node("a")], "channels": [edge("a.output", ref)]})
    assert found == Problem("spec.channels[0].to", message)


@pytest.mark.parametrize(
    ("capacity", "message"),
    [
        (0, "must be at least 1, not 0"),
        (-1, "must be at least 1, not -1"),
        (2**31, "must be at most 4096, not 2147483648"),
        (True, "must be a whole number, not True"),
        (1.5, "must be a whole number, not 1.5"),
        (float("nan"), "must be a whole number, not nan"),
        (float("inf"), "must be a whole number, not inf"),
        ("many", "must be a whole number, not 'many'"),
        ("16", "must be a whole number, not '16'"),
        (None, "is null; give it a value or leave the field out"),
        ({}, "must be a whole number, not {}"),
    ],
)
def test_a_capacity_is_a_whole_number_from_1_to_4096(capacity: Any, message: str) -> None:
    found = only({"nodes": [node("a"), node("b")], "channels": [edge("a.x", "b.x", capacity=capacity)]})
    assert found == Problem("spec.channels[0].capacity", message)
    runtime = {"channelCapacity": capacity}
    assert only({"nodes": [node("a")], "runtime": runtime}) == Problem("spec.runtime.channelCapacity", message)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0, "must be between 4Ki and 64Mi, not 0"),
        ("65Mi", "must be between 4Ki and 64Mi, not 65Mi"),
        (2**63, "9223372036854775808 is out of range; quantities go from 0 to 2^63-1 bytes"),
        (-1, "-1 is out of range; quantities go from 0 to 2^63-1 bytes"),
        (True, "True is not a quantity; write bytes, or a text like 256Mi"),
        (1.5, "1.5 is not a quantity; write bytes, or a text like 256Mi"),
        (
            "1gb",
            "'1gb' is not a quantity; write a number with one of the suffixes k, M, G, T, Ki, Mi, Gi, Ti, like 256Mi",
        ),
    ],
)
def test_a_message_size_is_a_quantity_up_to_64_mib(size: Any, message: str) -> None:
    found = only({"nodes": [node("a")], "runtime": {"maxMessageSize": size}})
    assert found == Problem("spec.runtime.maxMessageSize", message)


def test_an_arena_is_at_most_one_gib() -> None:
    found = only({"nodes": [node("a")], "runtime": {"shmSize": "2Gi"}})
    assert found == Problem("spec.runtime.shmSize", "must be between 1Mi and 1Gi, not 2Gi")


def test_sizes_are_the_same_however_they_are_written() -> None:
    written = [read(nodes=[node("a")], runtime={"shmSize": size}) for size in ("256Mi", 268435456, "268435456")]
    assert written[0] == written[1] == written[2]
    assert written[1].to_manifest()["spec"]["runtime"] == {"shmSize": "256Mi"}


@pytest.mark.parametrize(
    ("spec", "place", "message"),
    [
        (with_node(typo=1), "spec.nodes[0].typo", "unknown field; did you mean 'type'?"),
        (with_node(args=["--x"]), "spec.nodes[0].args", "unknown field; known: config, env, executor, image, "),
        (with_node(memory_limit=1), "spec.nodes[0].memory_limit", "unknown field; known: "),
        ({"nodes": [node("a")], "runtimes": {}}, "spec.runtimes", "unknown field; did you mean 'runtime'?"),
        (
            {"nodes": [node("a")], "session": {"max_restarts": 1}},
            "spec.session.max_restarts",
            "unknown field; did you mean 'maxRestarts'?",
        ),
        (
            with_pod(tolerations=[{"efect": "x"}]),
            "spec.pod.tolerations[0].efect",
            "unknown field; did you mean 'effect'?",
        ),
        (
            with_node(python={"venv_path": "x"}),
            "spec.nodes[0].python.venv_path",
            "unknown field; did you mean 'venvPath'?",
        ),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_name(spec: dict[str, Any], place: str, message: str) -> None:
    found = only(spec)
    assert found.place == place
    assert found.message.startswith(message)


@pytest.mark.parametrize(
    ("spec", "place", "message"),
    [
        (with_node(config=None), "spec.nodes[0].config", "is null; give it a value or leave the field out"),
        (with_node(config=[1]), "spec.nodes[0].config", "must be a mapping of fields, not [1]"),
        ({"nodes": None}, "spec.nodes", "is null; give it a value or leave the field out"),
        ({"nodes": {"a": {}}}, "spec.nodes", "must be a list, not {'a': {}}"),
        ({"nodes": [node("a")], "runtime": None}, "spec.runtime", "is null; give it a value or leave the field out"),
        ({"nodes": [node("a")], "runtime": "fast"}, "spec.runtime", "must be a mapping of fields, not 'fast'"),
        ({"nodes": [node("a")], "suspend": "yes"}, "spec.suspend", "must be true or false, not 'yes'"),
        ({"nodes": [node("a")], "replicas": 1.0}, "spec.replicas", "must be a whole number, not 1.0"),
        (
            {"nodes": [node("a")], "session": {"onNodeCrash": "restart"}},
            "spec.session.onNodeCrash",
            "'restart' is not allowed; write 'TerminateSession' or 'RestartNode'",
        ),
        (
            with_node(executor="thread"),
            "spec.nodes[0].executor",
            "'thread' is not allowed; write 'Process' or 'Inline'",
        ),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(spec: dict[str, Any], place: str, message: str) -> None:
    assert only(spec) == Problem(place, message)


def test_nulls_inside_a_config_are_the_nodes_own() -> None:
    assert problems_of(nodes=[node("a", config={"grammar": None})]) == []


@pytest.mark.parametrize("field", sorted(CONFINED))
def test_no_override_leaves_the_pod(field: str) -> None:
    message = "is not allowed: a session's pod stays confined to itself; remove it"
    assert only(with_pod(**{field: True})) == Problem(f"spec.pod.{field}", message)
    assert only(with_node(**{field: {}})) == Problem(f"spec.nodes[0].{field}", message)


@pytest.mark.parametrize(
    ("volume", "place", "message"),
    [
        ({"hostPath": {"path": "/"}}, "spec.pod.volumes[0].hostPath", "is not allowed: a session's pod stays"),
        ({}, "spec.pod.volumes[0]", "needs exactly one of persistentVolumeClaim, configMap, secret, emptyDir"),
        ({"emptyDir": {}, "secret": {"secretName": "s"}}, "spec.pod.volumes[0]", "needs exactly one of"),
    ],
)
def test_a_volume_is_of_one_safe_kind(volume: dict[str, Any], place: str, message: str) -> None:
    found = only(with_pod(volumes=[{"name": "v"} | volume]))
    assert found.place == place
    assert found.message.startswith(message)


@pytest.mark.parametrize(
    ("mount", "field", "message"),
    [
        ({"mountPath": "models"}, "mountPath", "'models' is not an absolute path without '..' and ':'"),
        ({"mountPath": "/a/../etc"}, "mountPath", "'/a/../etc' is not an absolute path without '..' and ':'"),
        ({"mountPath": "/dev/shm/"}, "mountPath", "'/dev/shm/' belongs to the container; mount elsewhere"),
        ({"mountPath": "/m", "subPath": "../x"}, "subPath", "'../x' leaves its volume; write a path below it"),
        ({"mountPath": "/m\u202e"}, "mountPath", "holds the invisible character U+202E; remove it"),
    ],
)
def test_a_mount_stays_in_its_volume_and_off_the_system(mount: dict[str, str], field: str, message: str) -> None:
    volumes = [{"name": "v", "emptyDir": {}}]
    found = only({**with_node(volumeMounts=[{"name": "v"} | mount]), "pod": {"volumes": volumes}})
    assert found.place == f"spec.nodes[0].volumeMounts[0].{field}"
    assert found.message.startswith(message)


@pytest.mark.parametrize(
    ("variable", "place", "message"),
    [
        ({"name": "A;B", "value": "x"}, "[0].name", "'A;B' is not allowed; write letters, digits and '_'"),
        ({"name": "A\nB", "value": "x"}, "[0].name", "'A\\nB' is not allowed; write letters, digits and '_'"),
        ({"name": "1A", "value": "x"}, "[0].name", "'1A' is not allowed; write letters"),
        ({"name": "A", "value": "x\ny"}, "[0].value", "holds the invisible character U+000A; remove it"),
        ({"name": "A", "value": "x" * 40000}, "[0].value", "is longer than 32768 characters"),
        ({"name": "A", "value": 3}, "[0].value", "must be a text (quote it), not 3"),
        ({"name": "A"}, "[0]", "needs exactly one of value, valueFrom"),
        ({"name": "A", "valueFrom": {}}, "[0].valueFrom", "needs exactly one of secretKeyRef, configMapKeyRef"),
        (
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "S!", "key": "k"}}},
            "[0].valueFrom.secretKeyRef.name",
            "'S!' is not allowed; write lower-case letters, digits, '-' and '.'",
        ),
    ],
)
def test_an_environment_variable_is_plain_and_has_one_value(variable: dict[str, Any], place: str, message: str) -> None:
    found = only(with_node(env=[variable]))
    assert found.place == f"spec.nodes[0].env{place}"
    assert found.message.startswith(message)


@pytest.mark.parametrize("type_name", ["../evil", "a;b", "a b", "", "x" * 300, "mod:Cls:more", "-x", ZERO_WIDTH])
def test_a_types_name_is_a_word_or_module_and_class(type_name: str) -> None:
    assert only(with_node(type=type_name)).place == "spec.nodes[0].type"
    assert problems_of(nodes=[node("a", "my_package.nodes:Gain"), node("b", "energy_vad")]) == []


def test_an_image_and_limits_are_checked() -> None:
    assert only(with_node(image="evil image; rm")).message.endswith("write an image like registry/name:tag")
    found = only(with_node(resources={"limits": {"memory": "1gb"}}))
    assert found.place == "spec.nodes[0].resources.limits"
    assert found.message.startswith("memory: '1gb' is not a quantity")
    found = only(with_node(resources={"requests": {"cpu": True}}))
    assert found == Problem("spec.nodes[0].resources.requests.cpu", "must be a quantity like 500m or 256Mi, not True")
    good = {"limits": {"memory": "300Mi", "cpu": "500m", "nvidia.com/gpu": 1}}
    assert problems_of(**with_node(resources=good, image="ghcr.io/x/y:1@sha256:ab")) == []


def test_more_entries_than_fit_are_refused() -> None:
    found = texts_of(nodes=[node("a", env=[{"name": f"V{i}", "value": "x"} for i in range(65)])])
    assert found == ["spec.nodes[0].env: has 65 entries, at most 64 are allowed"]
