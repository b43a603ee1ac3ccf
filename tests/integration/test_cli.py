"""The command line as a user has it: real processes, real signals, a real terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import urllib.request
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from ringline.cli import main, shapes
from ringline.data import RuntimeData, load_audio_file, save_audio_file
from tests.helpers.cli import BROKEN, PASS, TONE, Running, ringline, write
from tests.helpers.freeze import frozen
from tests.helpers.pod import free_ports

EXAMPLES = Path(__file__).parents[2] / "examples"
LONG = TONE.replace("duration_s: 0.5", "duration_s: 600")
OWN = PASS.replace("type: pass_through", "type: own_%s, python: {extraPaths: [.]}").replace("name: pass}", "name: own}")
NODES = """\
import sys
import time

from ringline import MultiprocessNode, register_node


@register_node("own_fragile")
class Fragile(MultiprocessNode):
    def process(self, data):
        if data.as_text() == "boom":
            raise ValueError("I do not like boom")
        return data


@register_node("own_talker")
class Talker(MultiprocessNode):
    def process(self, data):
        print("heard", data.as_text())
        print("[bold]loud[/]", file=sys.stderr)
        self.log.warning("logged %s", data.as_text())
        return data


@register_node("own_sleeper")
class Sleeper(MultiprocessNode):
    def initialize(self):
        self.report_progress(0.5, "falling asleep")
        time.sleep(600)

    def process(self, data):
        return data


@register_node("own_stubborn")
class Stubborn(MultiprocessNode):
    def process(self, data):
        print("will not be disturbed", flush=True)
        while True:
            try:
                time.sleep(600)
            except BaseException:
                pass
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return a folder with nodes of one's own and a text to feed."""
    write(tmp_path, NODES, "own_nodes_for_cli.py")
    write(tmp_path, "one\ntwo\n", "in.txt")
    return tmp_path


def manifest(folder: Path, node: str) -> Path:
    return write(folder, OWN % node, f"{node}.yaml")


def test_a_finite_pipeline_ends_by_itself_with_its_file_and_statistics(tmp_path: Path) -> None:
    outcome = ringline("run", write(tmp_path, TONE), cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    for step in ("tone: ready 100%", "gain: ready 100%", "runs after", "tone_to_gain", "gain_to_file", "ended after"):
        assert step in outcome.out
    with wave.open(str(tmp_path / "out.wav")) as file:
        assert file.getnframes() == pytest.approx(file.getframerate() / 2, abs=1)


def test_a_file_goes_in_and_a_file_comes_out(tmp_path: Path) -> None:
    tone = np.sin(np.arange(4000) * 0.1).astype(np.float32) * 0.5
    save_audio_file(tmp_path / "in.wav", RuntimeData.audio(tone, 8000))
    text = PASS.replace("pass_through", "gain, config: {gain_db: -20}").replace("node.input", "node.audio")
    file = write(tmp_path, text.replace("node.output", "node.audio"))
    outcome = ringline(
        "run", file, "--input", "first=in.wav", "--output", "last=out.wav", "--block-ms", 10, cwd=tmp_path
    )
    assert outcome.code == 0, outcome.err
    assert "last → out.wav (50 messages" in outcome.out
    assert np.allclose(load_audio_file(tmp_path / "out.wav").as_numpy(), tone / 10, atol=1e-3)


def test_set_changes_a_node_for_this_run(tmp_path: Path) -> None:
    outcome = ringline("run", write(tmp_path, TONE), "--set", "tone.config.duration_s=0.1", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    with wave.open(str(tmp_path / "out.wav")) as file:
        assert file.getnframes() == pytest.approx(file.getframerate() / 10, abs=1)


def test_json_is_one_object_a_line_and_the_last_is_the_documented_summary(own: Path) -> None:
    outcome = ringline("run", write(own, PASS), "-i", "first=in.txt", "--json", cwd=own)
    assert outcome.code == 0, outcome.err
    lines = outcome.lines
    assert {"progress", "started", "output", "exit", "summary"} <= {line["event"] for line in lines}
    assert [line["text"] for line in lines if line["event"] == "output"] == ["one", "two"]
    summary = lines[-1]
    assert set(summary) == set(get_type_hints(shapes.SummaryShape))
    assert (summary["event"], summary["result"], summary["exit_code"], summary["error"]) == (
        "summary",
        "ended",
        0,
        None,
    )
    assert {channel["messages"] for channel in summary["channels"].values()} == {2}
    assert all(set(channel) == set(get_type_hints(shapes.ChannelShape)) for channel in summary["channels"].values())
    assert all(set(node) == set(get_type_hints(shapes.NodeShape)) for node in summary["nodes"].values())
    assert summary["inputs"]["first"] == {"messages": 2, "bytes": 6, "file": "in.txt"}
    assert summary["outputs"]["last"] == {"messages": 2, "bytes": 6, "file": None}


def test_statistics_come_while_it_runs(own: Path) -> None:
    with Running("run", write(own, LONG), "--json", "--interval", 0.1, cwd=own) as running:
        while running.out.count('"event":"stats"') < 2:
            assert running.process.poll() is None, running.err
            time.sleep(0.02)
        running.signal(signal.SIGINT)
        outcome = running.wait()
    assert outcome.code == 0, outcome.err
    counts = [line["channels"]["tone_to_gain"]["messages"] for line in outcome.lines if line["event"] == "stats"]
    assert counts == sorted(counts)
    assert outcome.lines[-1]["result"] == "interrupted"


def test_text_goes_through_a_pipe(own: Path) -> None:
    with Running("run", write(own, PASS), "-i", "first=-", "-o", "last=-", cwd=own) as running:
        running.until("runs after")
        assert running.process.stdin is not None
        running.process.stdin.write("hello\nworld\n")
        outcome = running.wait()
    assert outcome.code == 0, outcome.err
    assert "\nhello\nworld\n" in outcome.out


def test_a_reader_that_goes_away_ends_the_session(own: Path) -> None:
    words = [sys.executable, "-m", "ringline.cli", "run", str(write(own, LONG)), "--json", "--interval", "0.1"]
    with subprocess.Popen(words, cwd=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
    assert process.returncode == 0, told
    assert "Traceback" not in told


def test_a_crash_is_exit_code_1_with_the_reason(own: Path) -> None:
    write(own, "one\nboom\n", "in.txt")
    outcome = ringline("run", manifest(own, "fragile"), "-i", "first=in.txt", cwd=own)
    assert outcome.code == 1
    assert "last: one" in outcome.out
    assert "node: exited with code 1 (Error): ValueError: I do not like boom" in outcome.out
    assert "node | ValueError: I do not like boom" in outcome.err
    (told,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert told.startswith("error: ProcessCrashed: Node 'node' exited with code 1: ValueError: I do not like boom")


def test_a_killed_node_is_told_with_its_signal(own: Path) -> None:
    with Running("run", write(own, LONG), "--json", "--interval", 0.1, cwd=own) as running:
        running.until('"event":"stats"')
        stats = next(json.loads(line) for line in running.out.splitlines() if '"event":"stats"' in line)
        os.kill(stats["nodes"]["gain"]["pid"], signal.SIGKILL)
        outcome = running.wait()
    assert outcome.code == 1
    summary = outcome.lines[-1]
    assert summary["result"] == "failed"
    assert "Node 'gain' exited with code 137" in summary["error"]
    assert summary["nodes"]["gain"]["exit_code"] == 137
    assert [line["signal"] for line in outcome.lines if line["event"] == "exit" and not line["expected"]] == ["SIGKILL"]


def test_what_a_node_prints_comes_under_its_name(own: Path) -> None:
    outcome = ringline("run", manifest(own, "talker"), "-i", "first=in.txt", cwd=own)
    assert outcome.code == 0, outcome.err
    for line in ("node | heard one", "node | [bold]loud[/]", "node | heard two"):
        assert line in outcome.err.splitlines()
    assert [line for line in outcome.err.splitlines() if "logged one" in line and line.startswith("node | ")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_the_session_cleanly(own: Path, number: signal.Signals) -> None:
    with Running("run", write(own, LONG), cwd=own) as running:
        running.until("runs after")
        while not (own / "out.wav").exists():  # sound has come through
            time.sleep(0.02)
        running.signal(number)
        outcome = running.wait()
    assert outcome.code == 0, outcome.err
    assert "ending the session; Ctrl-C again ends it at once" in outcome.err
    assert "file: exited with code 0" in outcome.out
    assert "interrupted after" in outcome.out
    assert "Traceback" not in outcome.err
    with wave.open(str(own / "out.wav")) as file:  # the sink has finished its header
        assert file.getnframes() > 0


def test_ctrl_c_twice_ends_a_stubborn_session_at_once(own: Path) -> None:
    words = ("run", manifest(own, "stubborn"), "-i", "first=in.txt", "--set", "runtime.cleanupGracePeriodSeconds=600")
    with Running(*words, cwd=own) as running:
        running.until("will not be disturbed")
        running.signal(signal.SIGINT)
        running.until("Ctrl-C again")
        running.signal(signal.SIGINT)
        outcome = running.wait()
    assert outcome.code == 130
    assert "Traceback" not in outcome.err


def test_ctrl_c_while_nodes_start_leaves_nothing(own: Path) -> None:
    with Running("run", manifest(own, "sleeper"), cwd=own) as running:
        running.until("falling asleep")
        running.signal(signal.SIGINT)
        outcome = running.wait()
    assert outcome.code == 0
    assert "interrupted" in outcome.out
    assert "Traceback" not in outcome.err


def test_a_broken_manifest_prints_every_problem_and_starts_nothing(tmp_path: Path) -> None:
    outcome = ringline("run", write(tmp_path, BROKEN), cwd=tmp_path)
    assert (outcome.code, outcome.out) == (1, "")
    for place in ("spec.channels[0].capacity", "spec.channels[0].to", "spec.nodes[0].config.hangover"):
        assert place in outcome.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--input", "nose=in.txt"], 1, "no input 'nose' (it has: first)"),
        (["--output", "nose=out.txt"], 1, "no output 'nose' (it has: last)"),
        (["--input", "first"], 2, "write NAME=FILE"),
        (["--input", "first=none.txt"], 1, "there is no file none.txt"),
        (["--set", "nose.config.x=1"], 2, "no node 'nose'"),
        (["--session-id", "../x"], 1, "session id"),
        (["--pipeline", "other"], 2, "no pipeline 'other'"),
        (["--config", "none.toml"], 1, "none.toml"),
        (["--output", "last=out.mp3"], 1, "written as .wav"),
        (["--set", "runtime.pythonExecutable=nosuchpython"], 2, "no setting"),
        (["--set", "runtime.python_executable=nosuchpython"], 1, "Python executable not found: 'nosuchpython'"),
    ],
)
def test_a_mistake_is_one_message_without_a_traceback(
    own: Path,
    words: list[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(own)
    assert main(["run", str(write(own, PASS)), *words]) == code
    told = capsys.readouterr().err
    assert message in re.sub(r"\s+│?\s*", " ", told)
    assert "Traceback" not in told


def test_a_second_session_of_the_same_id_is_refused(own: Path) -> None:
    file = write(own, PASS)
    with Running("run", file, "--session-id", "only-one", cwd=own) as running:
        running.until("runs after")
        outcome = ringline("run", file, "--session-id", "only-one", cwd=own)
        running.signal(signal.SIGINT)
        assert running.wait().code == 0
    assert outcome.code == 1
    assert "SessionExistsError" in outcome.err


def test_one_document_of_a_file_is_run_by_name(own: Path) -> None:
    file = write(own, f"{TONE}---\n{PASS}")
    assert ringline("run", file, cwd=own).code == 2
    outcome = ringline("run", file, "--pipeline", "pass", "-i", "first=in.txt", cwd=own)
    assert outcome.code == 0, outcome.err
    assert "last: two" in outcome.out


def test_inline_runs_without_processes(tmp_path: Path) -> None:
    outcome = ringline("run", write(tmp_path, TONE), "--executor", "inline", "--json", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    started = next(line for line in outcome.lines if line["event"] == "started")
    assert started["directory"] is None
    assert outcome.lines[-1]["channels"]["tone_to_gain"]["messages"] > 0
    assert (tmp_path / "out.wav").stat().st_size > 1000


def test_restart_starts_again_until_the_restarts_are_used_up(own: Path) -> None:
    write(own, "boom\n", "in.txt")
    text = (OWN % "fragile").replace("spec:\n", "spec:\n  session: {maxRestarts: 1, backoffSeconds: 1}\n")
    words = ("run", write(own, text), "-i", "first=in.txt", "--restart", "on-failure", "--json")
    outcome = ringline(*words, cwd=own)
    assert outcome.code == 1
    summary = outcome.lines[-1]
    assert (summary["result"], summary["attempts"]) == ("failed", 2)
    assert (
        len([line for line in outcome.lines if line["event"] == "notice" and "starting again" in line["message"]]) == 1
    )


def test_metrics_are_served_while_it_runs(own: Path) -> None:
    (port,) = free_ports(1)
    with Running("run", write(own, LONG), "--metrics-port", port, cwd=own) as running:
        running.until("runs after")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
        running.signal(signal.SIGINT)
        assert running.wait().code == 0
    assert 'channel="tone_to_gain"' in text


def test_the_time_line_of_a_spoken_command(tmp_path: Path) -> None:
    voice = EXAMPLES / "voice"
    words = ["run", voice / "pipeline.yaml", "-i", f"microphone={voice / 'turn-on-the-kitchen-light.wav'}"]
    outcome = ringline(*words, "-o", "speaker=answer.wav", "--timeline", "--json", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    summary = outcome.lines[-1]
    whats = [moment["what"] for moment in summary["moments"]]
    assert {"speech_start", "end_of_speech", "text", "first_audio"} <= set(whats)
    assert "turn on the kitchen light" in [moment["detail"] for moment in summary["moments"]]
    assert [moment for moment in summary["moments"] if moment["source"] == "vad.speech"]
    assert not [name for name in summary["channels"] if "tap" in name]
    assert set(summary["outputs"]) >= {"speaker", "transcript"}
    assert not [name for name in summary["outputs"] if name.startswith("tap")]
    assert load_audio_file(tmp_path / "answer.wav").as_numpy().std() > 0.01


def test_other_processes_send_and_receive(own: Path) -> None:
    with Running("run", write(own, PASS), "--session-id", "open", cwd=own) as running:
        running.until("ringline send --session open first FILE")
        with Running("recv", "--session", "open", "last", "--output", "got.jsonl", cwd=own) as receiver:
            time.sleep(0.5)
            while not (own / "got.jsonl").exists():  # the reader has opened its output
                sent = ringline("send", "--session", "open", "first", "in.txt", cwd=own)
                assert (sent.code, sent.err) == (0, "2 messages sent to first\n")
            assert ringline("send", "-s", "open", "first", "in.txt", "--end", cwd=own).code == 0
            received = receiver.wait()
        outcome = running.wait()
    assert outcome.code == 0, outcome.err
    assert received.code == 0, received.err
    texts = [json.loads(line)["payload"] for line in (own / "got.jsonl").read_text().splitlines()]
    assert texts[-2:] == ["one", "two"]
    assert received.err == f"{len(texts)} messages received from last\n"


def test_recv_ends_after_a_count_and_with_ctrl_c(own: Path) -> None:
    with Running(
        "run",
        write(
            own,
            LONG.replace("  - {name: file, type: audio_file_sink, config: {path: out.wav}}\n", "").replace(
                "  - {from: gain.audio, to: file.audio, overflow: DropOldest}\n",
                "  outputs: [{name: sound, from: gain.audio}]\n",
            ),
        ),
        "--session-id",
        "s",
        cwd=own,
    ) as running:
        running.until("runs after")
        outcome = ringline("recv", "-s", "s", "sound", "-o", "some.wav", "-c", 5, cwd=own)
        assert (outcome.code, outcome.err) == (0, "5 messages received from sound\n")
        with Running("recv", "-s", "s", "sound", "-o", "more.wav", cwd=own) as receiver:
            while not (own / "more.wav").exists():
                time.sleep(0.02)
            receiver.signal(signal.SIGINT)
            assert receiver.wait().code == 0
        running.signal(signal.SIGINT)
        assert running.wait().code == 0
    assert load_audio_file(own / "some.wav").as_numpy().std() > 0
    assert load_audio_file(own / "more.wav").as_numpy().std() > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["send", "-s", "none", "first", "in.txt"], "no session 'none' takes data here (those that do: open)"),
        (["send", "-s", "open", "nose", "in.txt"], "no input 'nose' (it has: first)"),
        (["recv", "-s", "open", "nose"], "no output 'nose' (it has: last)"),
        (["send", "-s", "open", "first", "none.txt"], "there is no file none.txt"),
    ],
)
def test_an_end_that_is_not_there_is_named_with_those_that_are(session: Path, words: list[str], message: str) -> None:
    outcome = ringline(*words, cwd=session)
    assert outcome.code == 1
    assert message in outcome.err
    assert "Traceback" not in outcome.err


@pytest.fixture
def session(own: Path) -> Iterator[Path]:
    """Keep a session called `open` running."""
    with Running("run", write(own, PASS), "--session-id", "open", cwd=own) as running:
        running.until("is open")
        yield own
        running.signal(signal.SIGINT)
        assert running.wait().code == 0


def test_top_reads_a_session_whose_node_hangs(own: Path) -> None:
    with Running("run", write(own, LONG), "--json", "--interval", 0.1, "--session-id", "hangs", cwd=own) as running:
        running.until('"event":"stats"')
        stats = next(json.loads(line) for line in running.out.splitlines() if '"event":"stats"' in line)
        stopped = stats["nodes"]["gain"]["pid"]
        with frozen(stopped):
            found = ringline("top", "--once", "--json", cwd=own).json
            table = ringline("top", "--once", "--session", "hangs", cwd=own).out
        running.signal(signal.SIGINT)
        assert running.wait().code == 0
    (shown,) = [each for each in found["sessions"] if each["session_id"] == "hangs"]
    assert shown["host_alive"] is True
    assert shown["nodes"]["gain"]["attached"] is True
    assert {name: node["pid"] for name, node in shown["nodes"].items()} == {
        **{name: node["pid"] for name, node in stats["nodes"].items()},
        "@host": running.process.pid,
    }
    assert shown["nodes"]["gain"]["memory_bytes"] > 1 << 20
    assert shown["channels"]["tone_to_gain"]["messages"] > 0
    assert set(shown["nodes"]["gain"]) == set(get_type_hints(shapes.TopNodeShape))
    assert "session hangs" in table
    assert "tone_to_gain" in table


def test_top_without_sessions_says_so(tmp_path: Path) -> None:
    outcome = ringline("top", "--once", cwd=tmp_path)
    assert outcome.code == 0
    assert "no session runs in" in outcome.out
    missing = ringline("top", "--once", "--session", "none", cwd=tmp_path)
    assert missing.code == 1
    assert "there is no session 'none'" in missing.err


def test_a_new_node_s_manifest_runs(tmp_path: Path) -> None:
    assert ringline("new", "node", "loudness_of_mine", cwd=tmp_path).code == 0
    outcome = ringline("run", "loudness_of_mine.yaml", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    sound = load_audio_file(tmp_path / "loudness_of_mine.wav")
    assert len(sound.as_numpy()) == sound.metadata.sample_rate


@pytest.mark.parametrize(
    "words",
    [["latency", "-n", 20, "--hops", 2], ["transfer", "-n", 5, "--bytes", 960, "--bytes", 192000], ["spawn", "-n", 1]],
)
def test_a_bench_reports_the_machine_and_percentiles(tmp_path: Path, words: list[object]) -> None:
    outcome = ringline("bench", *words, "--json", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    assert set(outcome.json) == set(get_type_hints(shapes.BenchShape))
    assert outcome.json["bench"] == words[0]
    assert outcome.json["machine"]["cores"] >= 1
    for row in outcome.json["rows"]:
        assert 0 < row["times"]["p50"] <= row["times"]["p99"] <= row["times"]["max"]


TAKE_TERMINAL = """\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "ringline.cli", *sys.argv[1:]])
"""


def on_a_terminal(*words: object, cwd: Path, until: str) -> tuple[int, str]:
    """Run a command on a terminal of 120 × 40, press Ctrl-C once it has drawn `until`; return its code and output."""
    terminal, child_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"},
        stdin=child_end,
        stdout=child_end,
        stderr=child_end,
        start_new_session=True,
    )
    os.close(child_end)
    drawn = ""
    pressed = False
    with contextlib.suppress(OSError):  # reading fails when the other end has gone
        while data := os.read(terminal, 65536):
            drawn += data.decode(errors="replace")
            if until in drawn and not pressed:
                os.write(terminal, b"\x03")
                pressed = True
    os.close(terminal)
    return process.wait(), drawn


def test_on_a_terminal_the_table_renews_itself_and_goes_at_the_end(own: Path) -> None:
    code, drawn = on_a_terminal("run", write(own, LONG), "--interval", 0.2, cwd=own, until="Ctrl-C ends it")
    assert code == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn)
    assert "tone · session tone-" in plain
    assert "msg/s" in plain
    assert "gain_to_file" in plain
    assert "\x1b[2K" in drawn
    assert drawn.count("\x1b[?25l") == drawn.count("\x1b[?25h")  # the cursor is back
    assert plain.rstrip().splitlines()[-1].startswith("interrupted after")


def test_top_on_a_terminal_ends_with_ctrl_c(session: Path) -> None:
    code, drawn = on_a_terminal("top", "--interval", 0.1, cwd=session, until="session open")
    assert code == 0
    assert "\x1b[?1049l" in drawn  # the screen from before is back
    assert "Traceback" not in drawn
