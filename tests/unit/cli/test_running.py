"""Runs in this process (the inline executor): everything that `ringline run` does around a session."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringline.cli import running
from ringline.cli.interrupts import Interrupts
from ringline.cli.run import choose_view
from ringline.cli.running import Attempt, RunOptions
from ringline.cli.views import JsonView, PlainView
from ringline.data import RuntimeData, load_audio_file, save_audio_file
from ringline.graph.manifest import read_manifest
from ringline.node.base import MultiprocessNode
from ringline.node.registry import register_node
from ringline.settings import RuntimeConfig
from tests.helpers.cli import PASS, TONE, Cli, Outcome, write

OWN = PASS.replace("pass_through", "cli_running_own")
LONG = TONE.replace("duration_s: 0.5", "duration_s: 600")


@register_node("cli_running_own")
class Own(MultiprocessNode):
    """Raises at "boom", marks "mark", answers partial texts to "partly"."""

    def process(self, data: RuntimeData) -> Any:
        text = data.as_text()
        if text == "boom":
            raise ValueError("I do not like boom")
        if text == "mark":
            return RuntimeData.audio(np.zeros(8, np.float32), 8000, extra={"event": "end_of_speech"})
        if text == "partly":
            return [RuntimeData.text("par", final=False), RuntimeData.text("partly")]
        return data


class Inline:
    """Runs manifests in this process."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self._cli = cli
        self.folder = folder

    def run(self, text: str, *words: object, lines: tuple[str, ...] = ()) -> Outcome:
        if lines:
            write(self.folder, "".join(f"{line}\n" for line in lines), "in.txt")
            words = ("-i", "first=in.txt", *words)
        return self._cli("run", write(self.folder, text), "--executor", "inline", *words)

    def summary(self, text: str, *words: object, lines: tuple[str, ...] = ()) -> dict[str, Any]:
        found: dict[str, Any] = self.run(text, "--json", *words, lines=lines).lines[-1]
        assert found["event"] == "summary"
        return found


@pytest.fixture
def inline(cli: Cli, tmp_path: Path) -> Inline:
    return Inline(cli, tmp_path)


@pytest.fixture
def ctrl_c() -> Iterator[Any]:
    """Press Ctrl-C once something is so: before the run takes signals, it would end the tests."""
    threads: list[threading.Thread] = []
    over = threading.Event()

    def press(when: Callable[[], object]) -> None:
        def work() -> None:
            while not when():
                if over.wait(0.005):
                    return
            os.kill(os.getpid(), signal.SIGINT)

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield press
    over.set()
    for thread in threads:
        thread.join()


def test_text_outputs_without_a_file_are_printed(inline: Inline) -> None:
    outcome = inline.run(OWN, lines=("one", "two"))
    assert outcome.code == 0, outcome.err
    assert [line for line in outcome.out.splitlines() if line.startswith("last: ")] == ["last: one", "last: two"]


def test_an_output_with_a_file_is_not_printed(inline: Inline) -> None:
    outcome = inline.run(OWN, "-o", "last=out.txt", lines=("one",))
    assert "last: one" not in outcome.out
    assert "last → out.txt (1 message, 3 B)" in outcome.out
    assert (inline.folder / "out.txt").read_text() == "one\n"


def test_ends_are_found_by_their_node_too(inline: Inline) -> None:
    write(inline.folder, "one\n", "in.txt")
    summary = inline.summary(OWN, "-i", "node=in.txt", "-o", "node=out.txt")
    assert summary["inputs"] == {"first": {"messages": 1, "bytes": 3, "file": "in.txt"}}
    assert summary["outputs"] == {"last": {"messages": 1, "bytes": 3, "file": "out.txt"}}


def test_progress_is_told_once_per_step(inline: Inline) -> None:
    lines = inline.run(OWN, "--json", lines=("x",)).lines
    steps = [(line["status"], line["progress"]) for line in lines if line["event"] == "progress"]
    assert steps[-1] == ("ready", 1.0)
    assert len(steps) == len(set(steps))


def test_a_crash_fails_the_run_with_its_reason(inline: Inline) -> None:
    summary = inline.summary(OWN, lines=("one", "boom"))
    assert (summary["result"], summary["exit_code"]) == ("failed", 1)
    assert summary["error"].startswith("ProcessCrashed: Node 'node' exited with code 1")
    assert "I do not like boom" in summary["error"]


def test_an_output_that_cannot_be_written_fails_the_run(inline: Inline) -> None:
    summary = inline.summary(OWN, "-o", "last=/dev/full", lines=("one",))
    assert (summary["result"], summary["error"]) == (
        "failed",
        "DataError: /dev/full can't be written: No space left on device",
    )
    summary = inline.summary(OWN, "-o", "last=out.wav", lines=("one",))
    assert "a text message can't be written to a sound file" in summary["error"]


def test_an_input_that_cannot_be_read_fails_the_run(inline: Inline) -> None:
    (inline.folder / "in.wav").write_bytes(b"no sound")
    summary = inline.summary(OWN, "-i", "first=in.wav")
    assert summary["result"] == "failed"
    assert "in.wav" in summary["error"]


def test_duration_ends_a_run_that_would_go_on(inline: Inline) -> None:
    outcome = inline.run(LONG, "--duration", 0.3)
    assert outcome.code == 0, outcome.err
    assert "ended by --duration after" in outcome.out


def test_a_duration_of_nothing_ends_at_once(inline: Inline) -> None:
    assert inline.summary(LONG, "--duration", 0)["result"] == "duration"


def test_statistics_come_at_their_interval(inline: Inline) -> None:
    lines = inline.run(LONG, "--json", "--duration", 0.8, "--interval", 0.1).lines
    stats = [line for line in lines if line["event"] == "stats"]
    assert len(stats) >= 2
    assert [line["elapsed_seconds"] for line in stats] == sorted(line["elapsed_seconds"] for line in stats)
    assert stats[-1]["nodes"]["gain"]["state"] == "running"


def test_the_first_ctrl_c_ends_cleanly(inline: Inline, ctrl_c: Any) -> None:
    ctrl_c((inline.folder / "out.wav").exists)
    outcome = inline.run(LONG)
    assert outcome.code == 0, outcome.err
    assert "Ctrl-C again ends it at once" in outcome.err
    assert "interrupted after" in outcome.out


def test_the_pace_of_an_input_is_the_media_s_own_if_asked(inline: Inline) -> None:
    sound = inline.folder / "in.wav"
    save_audio_file(sound, RuntimeData.audio(np.zeros(2400, np.float32), 8000))
    summary = inline.summary(PASS, "-i", f"first={sound}", "-o", "last=out.wav", "--realtime", "--block-ms", 100)
    assert summary["elapsed_seconds"] >= 0.199  # three blocks: the last begins 200 ms after the first
    assert summary["inputs"]["first"]["messages"] == 3
    assert len(load_audio_file(inline.folder / "out.wav").as_numpy()) == 2400


def test_the_time_line_has_marks_and_final_texts(inline: Inline) -> None:
    outcome = inline.run(OWN, "--timeline", "--json", lines=("mark", "partly"))
    assert outcome.code == 0, outcome.err
    moments = outcome.lines[-1]["moments"]
    assert [(moment["what"], moment["detail"]) for moment in moments] == [("end_of_speech", ""), ("text", "partly")]
    told = [line for line in outcome.lines if line["event"] == "moment"]
    assert [{**moment, "event": "moment"} for moment in moments] == told
    assert not [line for line in outcome.lines if line["event"] == "output"]


def test_taps_do_not_show(inline: Inline) -> None:
    text = OWN.replace(
        "nodes:\n", "nodes:\n  - {name: words, type: text_template, config: {template: 'heard {text}'}}\n"
    )
    text = text.replace("node.input", "words.text").replace(
        "  inputs", "  channels: [{from: words.text, to: node.input}]\n  inputs"
    )
    outcome = inline.run(text, "--timeline", "--json", lines=("hello",))
    assert outcome.code == 0, outcome.err
    summary = outcome.lines[-1]
    assert {moment["source"] for moment in summary["moments"]} == {"words.text", "last"}
    assert set(summary["outputs"]) == {"last"}
    assert not [name for name in summary["channels"] if name.startswith("words_to_output")]


def test_restart_always_starts_again_after_a_good_end(inline: Inline) -> None:
    text = OWN.replace("spec:\n", "spec:\n  session: {maxRestarts: 2, backoffSeconds: 0}\n")
    outcome = inline.run(text, "--restart", "always", "--json", lines=("one",))
    assert outcome.code == 0, outcome.err
    assert outcome.lines[-1]["attempts"] == 3
    assert [line["text"] for line in outcome.lines if line["event"] == "output"] == ["one"] * 3


def test_restart_on_failure_leaves_a_good_end_alone(inline: Inline) -> None:
    assert inline.summary(OWN, "--restart", "on-failure", lines=("one",))["attempts"] == 1


def test_a_restart_is_announced_with_its_reason(inline: Inline) -> None:
    text = OWN.replace("spec:\n", "spec:\n  session: {maxRestarts: 1, backoffSeconds: 0}\n")
    outcome = inline.run(text, "--restart", "on-failure", lines=("boom",))
    assert outcome.code == 1
    assert "I do not like boom" in outcome.err
    assert "starting again in 0 s (attempt 2)" in outcome.err


def test_ctrl_c_while_it_waits_to_start_again_is_enough(
    inline: Inline, ctrl_c: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    asked_within = running._asked_within

    async def noted(interrupts: Interrupts, seconds: float) -> bool:
        waits.append(seconds)
        return await asked_within(interrupts, seconds)

    monkeypatch.setattr(running, "_asked_within", noted)
    text = OWN.replace("spec:\n", "spec:\n  session: {maxRestarts: 5, backoffSeconds: 600, maxBackoffSeconds: 600}\n")
    ctrl_c(lambda: 600 in waits)
    outcome = inline.run(text, "--restart", "on-failure", "--json", lines=("boom",))
    assert outcome.code == 1
    assert outcome.lines[-1]["attempts"] == 2  # the first restart is immediate


def test_an_error_of_ours_still_closes_everything(inline: Inline, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: Attempt, _name: str) -> Any:
        raise ZeroDivisionError("a mistake in the command line itself")

    monkeypatch.setattr(running.Attempt, "_listener", broken)
    outcome = inline.run(OWN, lines=("one",))
    assert outcome.code == 1
    assert outcome.err.startswith("internal error: ZeroDivisionError")


def options(**changes: Any) -> RunOptions:
    (resource,) = read_manifest(PASS)
    return RunOptions(**{"pipeline": resource, "settings": RuntimeConfig(), "session_id": "x", **changes})


def test_the_view_suits_the_output() -> None:
    assert isinstance(choose_view(options(), as_json=True, terminal=True), JsonView)
    assert isinstance(choose_view(options(), as_json=False, terminal=False), PlainView)
    assert isinstance(choose_view(options(outputs={"last": "-"}), as_json=False, terminal=True), PlainView)
    live = choose_view(options(), as_json=False, terminal=True)
    live.close()
    assert type(live).__name__ == "LiveView"


def test_the_session_s_name_is_the_pipeline_s_and_a_number(inline: Inline) -> None:
    assert inline.summary(OWN, lines=("x",))["session_id"] == f"pass-{os.getpid()}"
    assert inline.summary(OWN, "--session-id", "mine", lines=("x",))["session_id"] == "mine"


def test_json_lines_hold_no_line_breaks_of_their_own(inline: Inline) -> None:
    outcome = inline.run(OWN, "--json", lines=("boom",))
    assert all(isinstance(json.loads(line), dict) for line in outcome.out.splitlines())
