"""The time line: which ports are tapped, and what a message marks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ringline.cli.manifests import choose_pipeline
from ringline.cli.moments import Timeline, since_speech, tapped_ports, with_taps
from ringline.cli.shapes import MomentShape
from ringline.data import RuntimeData
from ringline.graph.validate import validate
from tests.helpers.cli import TONE, VOICE, write


def moments(
    timeline: Timeline, data: RuntimeData, source: str = "speaker", *, tap: bool = False
) -> list[tuple[str, str]]:
    return [(found["what"], found["detail"]) for found in timeline.look(data, source, 1.5, tap=tap)]


def audio(**extra: object) -> RuntimeData:
    return RuntimeData.audio(np.zeros(8, np.float32), 8000, extra=extra)


def test_speech_and_text_are_tapped(tmp_path: Path) -> None:
    assert tapped_ports(choose_pipeline(write(tmp_path, VOICE), None)) == ["vad.speech", "asr.text", "answer.text"]


def test_a_port_that_is_an_output_already_needs_no_tap(tmp_path: Path) -> None:
    text = VOICE.replace("outputs: [", "outputs: [{name: words, from: asr.text}, ")
    assert "asr.text" not in tapped_ports(choose_pipeline(write(tmp_path, text), None))


def test_a_graph_without_text_has_no_taps(tmp_path: Path) -> None:
    assert tapped_ports(choose_pipeline(write(tmp_path, TONE), None)) == []


def test_a_tapped_pipeline_is_sound_and_keeps_its_outputs(tmp_path: Path) -> None:
    pipeline = choose_pipeline(write(tmp_path, VOICE), None)
    tapped, names = with_taps(pipeline, ["vad.speech", "asr.text"])
    assert names == {"tap-1": "vad.speech", "tap-2": "asr.text"}
    assert validate(tapped) == []
    assert [output.name for output in tapped.spec.outputs] == ["speaker", "tap-1", "tap-2"]
    assert {output.overflow for output in tapped.spec.outputs[1:]} == {"DropOldest"}
    assert tapped.source.file == pipeline.source.file
    assert len(pipeline.spec.outputs) == 1


def test_a_node_s_mark_is_a_moment() -> None:
    assert moments(Timeline(), audio(event="end_of_speech"), "vad.speech", tap=True) == [("end_of_speech", "")]


def test_a_final_text_is_a_moment_and_a_partial_one_is_not() -> None:
    timeline = Timeline()
    assert moments(timeline, RuntimeData.text("lights", final=False), "asr.text", tap=True) == []
    assert moments(timeline, RuntimeData.text("lights on"), "asr.text", tap=True) == [("text", "lights on")]


def test_the_first_message_of_an_output_is_a_moment() -> None:
    timeline = Timeline()
    assert moments(timeline, audio()) == [("first_audio", "")]
    assert moments(timeline, audio()) == []
    assert moments(timeline, audio(), "other") == [("first_audio", "")]


def test_a_tap_s_first_message_is_none() -> None:
    assert moments(Timeline(), audio(), tap=True) == []


def test_a_first_message_that_marks_itself_is_one_moment() -> None:
    assert moments(Timeline(), audio(event="first_audio")) == [("first_audio", "")]


def test_moments_are_kept_with_both_times() -> None:
    timeline = Timeline()
    data = RuntimeData.text("hi", timestamp=2_500_000_000)
    list(timeline.look(data, "chat", 0.1234567, tap=False))
    assert timeline.moments == [
        MomentShape(at_seconds=0.123457, media_seconds=2.5, source="chat", what="text", detail="hi")
    ]


def test_a_message_without_metadata_marks_nothing() -> None:
    assert moments(Timeline(), RuntimeData("binary", b"x")) == []


def at(seconds: float, what: str) -> MomentShape:
    return MomentShape(at_seconds=seconds, media_seconds=None, source="x", what=what, detail="")


def test_times_count_from_the_latest_end_of_speech() -> None:
    rows = since_speech([at(1.0, "text"), at(2.0, "end_of_speech"), at(2.3, "text"), at(9.0, "end_of_speech")])
    assert [after for _, after in rows] == [None, 0.0, pytest.approx(0.3), 0.0]
