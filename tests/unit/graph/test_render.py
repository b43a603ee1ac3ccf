"""Drawings show every node and channel, of sound graphs and of others."""

from __future__ import annotations

from typing import Any

from ringline.graph.model import MediaPipeline
from ringline.graph.render import render_mermaid, render_text
from tests.unit.graph.graphs import CATALOG, chain, edge, node, read


def looped() -> MediaPipeline:
    nodes = [node("v", "vad"), node("asr", "asr"), node("t", "tone"), node("m", "mix")]
    joins = [
        edge("v.speech", "asr.audio", capacity=4, overflow="Latest"),
        edge("v.speech", "m.b"),
        edge("t.audio", "m.a"),
        edge("m.audio", "v.audio", feedback=True),
    ]
    return read(nodes=nodes, channels=joins, inputs=[{"name": "mic", "to": "m.c"}])


def test_a_chain_is_drawn_as_a_tree() -> None:
    spec: dict[str, Any] = {"inputs": [{"name": "mic", "to": "a.input"}]}
    assert render_text(read(**chain("a", "b"), **spec), CATALOG) == (
        "pipeline p\n(mic)\n└─ → a [thing]\n   └─ output → b [thing]\n      └─ output → (b)\n"
    )


def test_branches_joins_and_feedback_are_drawn_once_each() -> None:
    text = render_text(looped(), CATALOG)
    assert text == (
        "pipeline p\n"
        "(mic)\n"
        "└─ → m [mix].c\n"
        "   └─ audio → v [vad]   {feedback}\n"
        "v [vad]\n"
        "├─ speech → asr [asr]   {Latest, capacity 4}\n"
        "│  └─ text → (asr)\n"
        "├─ speech → m ↑.b\n"
        "└─ events → (v)\n"
        "t [tone]\n"
        "└─ audio → m ↑.a\n"
    )


def test_mermaid_has_a_line_for_every_node_and_channel() -> None:
    lines = render_mermaid(looped(), CATALOG).splitlines()
    assert lines[0] == "flowchart LR"
    assert '  n0["v<br/>vad"]' in lines
    assert '  n0 -->|"speech: audio"| n1' in lines
    assert '  n3 -.->|"audio"| n0' in lines
    assert '  in4(["mic"])' in lines
    assert '  in4 -->|"c: audio"| n3' in lines
    assert sum("-->" in line or "-.->" in line for line in lines) == 7


def test_an_unsound_graph_is_drawn_as_far_as_it_goes() -> None:
    pipeline = read(nodes=[node("a")], channels=[edge("a.x", "gone.y"), edge("a.x", "a.y")])
    assert "└─ x → a ↑" in render_text(pipeline, CATALOG)
    assert "├─ x → gone (missing)" in render_text(pipeline, CATALOG)
    assert '["gone<br/>missing"]' in render_mermaid(pipeline, CATALOG)
