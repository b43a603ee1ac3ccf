"""Files with manifests: one or several documents, everything wrong with them at once, with lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline.errors import ManifestError
from ringline.graph.manifest import parse_manifest, read_manifest
from ringline.graph.validate import validate
from tests.unit.graph.graphs import CATALOG, HEADER, refused

GOOD = HEADER + "spec:\n  nodes:\n  - {name: a, type: thing}\n"


def test_a_file_is_read_and_remembered(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(GOOD, encoding="utf-8")
    [pipeline] = read_manifest(path)
    assert pipeline.metadata.name == "p"
    assert pipeline.source.file == str(path)
    assert pipeline.source.folder == tmp_path
    assert pipeline.source.line("spec.nodes[0].type") == 6
    assert pipeline.source.line("spec.nodes[0].config.gain") == 6
    assert read_manifest(str(path)) == [pipeline]


def test_a_text_is_read_like_a_file() -> None:
    assert read_manifest(GOOD) == parse_manifest(GOOD.encode()).pipelines
    assert read_manifest(GOOD)[0].source.folder is None


def test_problems_that_the_graph_has_name_their_line() -> None:
    [pipeline] = read_manifest(GOOD + "  channels:\n  - from: a.x\n    to: b.y\n")
    [problem] = validate(pipeline, CATALOG)
    assert (problem.place, problem.line) == ("spec.channels[0].to", 9)


def test_problems_of_values_and_of_the_graph_come_together_in_the_order_of_the_file() -> None:
    text = GOOD + "  channels:\n  - {from: a.x, to: b.y}\n  replicas: many\n  suspnd: true\n"
    assert refused(text, "p.yaml") == [
        "p.yaml:8: spec.channels[0].to: there is no node 'b' (there are: a)",
        "p.yaml:9: spec.replicas: must be a whole number, not 'many'",
        "p.yaml:10: spec.suspnd: unknown field; did you mean 'suspend'?",
    ]


def test_several_documents_are_all_read() -> None:
    second = GOOD.replace("{name: p}", "{name: q}")
    assert [p.metadata.name for p in read_manifest(f"{GOOD}---\n{second}---\n")] == ["p", "q"]


def test_one_bad_document_does_not_hide_the_problems_of_another() -> None:
    text = f"{GOOD}  replicas: -1\n---\n{GOOD}  channels: [{{from: a.x, to: a.y}}]\n"
    assert [line.split(":")[0] for line in refused(text)] == ["line 7", "line 14", "line 15"]


def test_documents_of_other_kinds_are_named_not_read() -> None:
    others = (
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: code}\ndata: {x.py: 'a: b'}\n"
        "---\napiVersion: ringline.dev/v1alpha1\nkind: MediaSession\nmetadata: {name: call-1}\nspec: {}\n"
    )
    found = parse_manifest(GOOD + others)
    assert len(found.pipelines) == 1
    assert found.others == ["ConfigMap/code", "MediaSession/call-1"]
    assert refused(others) == ["holds no MediaPipeline, only ConfigMap/code, MediaSession/call-1; name another file"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; a manifest begins with `apiVersion: ringline.dev/v1alpha1` and `kind: MediaPipeline`"),
        ("# only a comment\n---\n", "is empty; a manifest begins with"),
        ("- a\n- b\n", "line 1: is a list; a manifest is a mapping, several are separated by lines of ---"),
        ("\n\njust words\n", "line 3: is the single value 'just words'; a manifest is a mapping"),
        ("a: [\n", "line 2: is not YAML:"),
        (b"a: \xff\xfe\n", "line 1: is not UTF-8 (byte 0xff); save it as UTF-8"),
        ("x: \ud800", "line 1: is not UTF-8 (byte 0xed); save it as UTF-8"),
        (GOOD.encode("utf-16"), "line 1: is not UTF-8"),
        ("a: \x07\n", "is not YAML: "),
        (b"#" * (10 << 20), "is larger than 1 MiB; move large values into files"),
    ],
)
def test_a_text_that_is_no_manifest_is_refused_in_one_sentence(text: str | bytes, message: str) -> None:
    found = refused(text)
    assert len(found) == 1
    assert found[0].startswith(message)


def test_a_byte_order_mark_does_no_harm() -> None:
    assert parse_manifest(b"\xef\xbb\xbf" + GOOD.encode()).pipelines == read_manifest(GOOD)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "apiVersion: ringline.dev/v1\nkind: MediaPipeline",
            "apiVersion: must be ringline.dev/v1alpha1, not 'ringline.dev/v1'",
        ),
        ("apiVersion: v1\nkind: MediaPipeline", "apiVersion: must be ringline.dev/v1alpha1, not 'v1'"),
        ("kind: MediaPipeline", "apiVersion: is missing; write apiVersion: ringline.dev/v1alpha1"),
        ("apiVersion: ringline.dev/v1alpha1\nkind: MediaPipelin", "kind: must be MediaPipeline, not 'MediaPipelin'"),
        ("apiVersion: 1\nkind: [x]", "kind: must be MediaPipeline, not ['x']"),
    ],
)
def test_a_wrong_header_is_refused_and_the_rest_still_checked(header: str, message: str) -> None:
    text = f"{header}\nmetadata: {{name: p}}\nspec: {{nodes: [{{name: A, type: t}}]}}\n"
    found = "\n".join(refused(text))
    assert message in found
    assert "spec.nodes[0].name: 'A' is not allowed" in found


def test_what_an_api_server_adds_is_read_over() -> None:
    text = GOOD.replace("{name: p}", "{name: p, uid: 1-2, generation: 3, creationTimestamp: 2026-11-21T10:00:00Z}")
    found = read_manifest(text + "status: {readyReplicas: 1, conditions: [{type: Ready, status: null}]}\n")
    assert found == read_manifest(GOOD)
    assert "status" not in found[0].to_manifest()


def test_duplicate_keys_and_tags_are_reported_beside_everything_else() -> None:
    text = GOOD + "  replicas: 1\n  replicas: 2\n  suspend: !!python/name:os.system ''\n  sesion: {}\n"
    assert [line.split(": ")[1] for line in refused(text)] == [
        "spec.replicas",
        "spec.suspend",
        "spec.suspend",
        "spec.sesion",
    ]


def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "absent.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ManifestError) as caught:
            read_manifest(path)
        assert str(caught.value) == f"{path}: can't be read: {reason}; check the path"


def test_ten_thousand_nodes_are_refused_by_their_number() -> None:
    text = HEADER + "spec:\n  nodes:\n" + "".join(f"  - {{name: n{i}, type: thing}}\n" for i in range(10_000))
    assert refused(text) == ["line 5: spec.nodes: has 10000 entries, at most 32 are allowed"]


@given(st.integers(min_value=0, max_value=len(GOOD)), st.text(max_size=5), st.integers(min_value=0, max_value=9))
def test_any_damage_to_a_manifest_is_survived(at: int, inserted: str, cut: int) -> None:
    text = GOOD[:at] + inserted + GOOD[at + cut :]
    found = refused(text)
    assert all(found) or parse_manifest(text).pipelines
