"""What a run shows: JSON lines, plain lines, the renewing table."""

from __future__ import annotations

import json
import logging
from typing import Any, cast

import pytest

from ringline.cli.live import LiveView
from ringline.cli.logs import shown_in
from ringline.cli.shapes import (
    ChannelShape,
    EndShape,
    ExitLine,
    MomentLine,
    MomentShape,
    NodeShape,
    NoticeLine,
    ProgressLine,
    StartedLine,
    StatsLine,
    SummaryShape,
    TextLine,
)
from ringline.cli.views import JsonView, PlainView, View, exit_text, moment_text, progress_text
from ringline.host.exits import Circumstances, exit_record, log_exit

CHANNEL = ChannelShape(
    producer="vad",
    consumer="asr",
    messages=7,
    bytes=7000,
    occupancy=0,
    capacity=16,
    dropped={"timeout": 2},
    blocked_seconds=0.0,
)
NODE = NodeShape(state="running", pid=12, epoch=1, restarts=0, progress=1.0, message="", exit_code=None, reason=None)
MOMENTS = [
    MomentShape(at_seconds=2.0, media_seconds=None, source="vad.speech", what="end_of_speech", detail=""),
    MomentShape(at_seconds=2.25, media_seconds=1.5, source="asr.text", what="text", detail="lights on"),
]


def summary(**changes: Any) -> SummaryShape:
    values = {
        "event": "summary",
        "session_id": "voice-1",
        "pipeline": "voice",
        "result": "ended",
        "exit_code": 0,
        "error": None,
        "attempts": 1,
        "start_seconds": 0.5,
        "elapsed_seconds": 3.0,
        "nodes": {"asr": NODE},
        "channels": {"vad_to_asr": CHANNEL},
        "inputs": {},
        "outputs": {"speaker": EndShape(messages=3, bytes=300, file="answer.wav")},
        "moments": MOMENTS,
    }
    return cast("SummaryShape", values | changes)


def exit_line(**changes: Any) -> ExitLine:
    values = {
        "event": "exit",
        "node": "asr",
        "epoch": 1,
        "pid": 12,
        "exit_code": 0,
        "signal": None,
        "reason": "Completed",
        "expected": True,
        "message": "ended in order",
        "max_rss_bytes": 1 << 20,
        "cpu_seconds": 0.1,
    }
    return cast("ExitLine", values | changes)


def show_all(view: View) -> None:
    view.progress(ProgressLine(event="progress", node="asr", status="loading", progress=0.4, message="model"))
    view.started(StartedLine(event="started", session_id="voice-1", directory="/d", seconds=0.5))
    view.stats(StatsLine(event="stats", elapsed_seconds=1.0, nodes={"asr": NODE}, channels={"vad_to_asr": CHANNEL}))
    view.log("asr", "model is [large]")
    view.moment(MomentLine(event="moment", **MOMENTS[1]))
    view.text(TextLine(event="output", output="chat", text="hello"))
    view.exit(exit_line())
    view.notice(NoticeLine(event="notice", message="ending"))
    view.summary(summary())
    view.close()


def test_json_lines_are_whole_objects_in_order_and_logs_are_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    show_all(JsonView())
    out, err = capsys.readouterr()
    events = [json.loads(line)["event"] for line in out.splitlines()]
    assert events == ["progress", "started", "stats", "moment", "output", "exit", "notice", "summary"]
    assert err == "asr | model is [large]\n"


def test_plain_lines_say_the_same_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    show_all(PlainView())
    out, err = capsys.readouterr()
    assert out.splitlines()[:5] == [
        "asr: loading 40% model",
        "session voice-1 runs after 500 ms",
        "   2.250 s  text (asr.text) 'lights on'",
        "chat: hello",
        "asr: exited with code 0 (Completed)",
    ]
    assert err == "asr | model is [large]\nending\n"
    assert "\x1b" not in out


def test_the_summary_for_people_has_the_time_line_channels_files_and_the_result(
    capsys: pytest.CaptureFixture[str],
) -> None:
    PlainView().summary(summary())
    out = capsys.readouterr().out
    for part in ("time line", "+250.0 ms", "end of speech", "lights on", "vad_to_asr", "2 timeout"):
        assert part in out
    assert "speaker → answer.wav (3 messages, 300 B)" in out
    assert out.endswith("ended after 3 s\n")


def test_a_failure_is_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    PlainView().summary(
        summary(result="failed", error="ProcessCrashed: Node 'tts' exited with code 137\n  its last lines", moments=[])
    )
    out, err = capsys.readouterr()
    assert err == "error: ProcessCrashed: Node 'tts' exited with code 137\n"
    assert "vad_to_asr" in out


def test_an_output_that_gave_nothing_has_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    PlainView().summary(summary(outputs={"speaker": EndShape(messages=0, bytes=0, file="answer.wav")}))
    assert "speaker: nothing came, no file" in capsys.readouterr().out


def test_the_live_view_ends_with_the_same_summary(capsys: pytest.CaptureFixture[str]) -> None:
    show_all(LiveView("voice · session voice-1"))
    out = capsys.readouterr().out
    assert "asr | model is [large]" in out
    assert "chat: hello" in out
    assert "Completed" not in out
    assert out.endswith("ended after 3 s\n")


def test_a_step_without_words_has_no_space_at_its_end() -> None:
    line = ProgressLine(event="progress", node="asr", status="ready", progress=1.0, message="")
    assert progress_text(line) == "asr: ready 100%"


def test_a_moment_without_a_text_has_no_quotes() -> None:
    assert moment_text(MOMENTS[0]) == "   2.000 s  end_of_speech (vad.speech)"


def test_a_crash_is_told_with_its_sentence() -> None:
    line = exit_line(exit_code=137, reason="OOMKilled", expected=False, message="out of memory")
    assert exit_text(line) == "asr: exited with code 137 (OOMKilled): out of memory"


def test_what_ringline_logs_is_shown_in_the_view(capsys: pytest.CaptureFixture[str]) -> None:
    event = {"node": "asr", "epoch": 1, "pid": 12, "code": 137, "signal": "SIGKILL", "oom": True, "user_s": 0.5}
    with shown_in(PlainView()):
        log_exit(exit_record(event, Circumstances("voice-1")))
        logging.getLogger("ringline.host").warning("something is odd")
        logging.getLogger("ringline.host").info("nothing of interest")
    logging.getLogger("ringline.host").info("after the run")
    out, err = capsys.readouterr()
    assert out.startswith("asr: exited with code 137 (OOMKilled): killed by")
    assert err == "ringline | something is odd\n"


def test_a_record_of_another_form_does_not_break_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_in(PlainView()):
        logging.getLogger("ringline.exits").error("node exited %s", "no json")
    assert "Logging error" in capsys.readouterr().err
